"""Dataclasses to JSON and back: what comes out is what went in, and only of the right type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.bundle.codec import decode, encode
from edgeexit.bundle.jsonfile import parse_json, seal_json, unseal_json
from edgeexit.errors import BundleError


@dataclass(frozen=True)
class Inner:
    flag: bool
    size: int | str


@dataclass(frozen=True)
class Outer:
    name: str
    ratio: float
    kind: Literal["a", "b"]
    pair: tuple[int, int] | None
    items: tuple[Inner, ...]
    table: Mapping[Literal["a", "b"], float]
    matrix: npt.NDArray[np.float64]


GOOD = Outer("n", 0.1, "a", (1, 2), (Inner(True, 3), Inner(False, "3*b")), {"b": 2.0}, np.eye(2))


def test_round_trip_keeps_types_and_values() -> None:
    read = decode(Outer, parse_json(seal_json("x", encode(GOOD))[0], "f", 10**6)["x"], "f")  # type: ignore[index,call-overload]
    np.testing.assert_array_equal(read.matrix, GOOD.matrix, strict=True)
    same = np.zeros(1)
    assert replace(read, matrix=same) == replace(GOOD, matrix=same)
    assert type(read.items[0].flag) is bool


def test_numpy_scalars_are_written_as_numbers() -> None:
    scalars: dict[str, Any] = {"ratio": np.float32(0.5), "pair": (np.int64(1), 2)}
    odd = replace(GOOD, **scalars)
    encoded: Any = encode(odd)
    assert encoded["ratio"] == 0.5
    assert type(encoded["ratio"]) is float
    assert type(encoded["pair"][0]) is int


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("name", None, "f: name: holds None; it must be a string"),
        ("name", 1, "f: name: holds 1; it must be a string"),
        ("ratio", "0.1", "f: ratio: holds '0.1'; it must be a number"),
        ("ratio", True, "f: ratio: holds True; it must be a number"),
        ("kind", "c", "f: kind: holds 'c'; it must be one of a, b"),
        ("kind", ["a"], r"f: kind: holds \['a'\]; it must be one of a, b"),
        ("pair", [1], r"f: pair: holds \[1\]; it must be a list of 2"),
        ("pair", [1, 2.0], r"f: pair\[1\]: holds 2.0; it must be an integer"),
        ("pair", "12", "f: pair: holds '12'; it must be a list"),
        ("items", [{"flag": 1, "size": 1}], r"f: items\[0\].flag: holds 1; it must be true or"),
        ("items", [{"flag": True, "size": 1.5}], r"size: holds 1.5; it must be an integer or a st"),
        ("items", [{"flag": True}], r"f: items\[0\].size: is missing"),
        ("items", [{"flag": True, "size": 1, "x": 0}], r"f: items\[0\].x: is not a known key"),
        ("items", [7], r"f: items\[0\]: holds 7; it must be an object"),
        ("table", {"c": 1.0}, "f: table.c: holds 'c'; it must be one of a, b"),
        ("table", {"a": None}, "f: table.a: holds None; it must be a number"),
        ("table", [], r"f: table: holds \[\]; it must be an object"),
        ("matrix", [[1, 2], [3]], "f: matrix: has rows of different lengths"),
        ("matrix", [[1, "2"]], r"f: matrix\[0\]\[1\]: holds '2'; it must be a number"),
        ("matrix", [[1, True]], r"f: matrix\[0\]\[1\]: holds True"),
        ("matrix", 1.0, "f: matrix: holds 1.0; it must be a list of numbers"),
    ],
)
def test_a_value_of_another_type_is_named(field: str, value: Any, fault: str) -> None:
    body: Any = encode(GOOD)
    body[field] = value
    with pytest.raises(BundleError, match=fault):
        decode(Outer, body, "f")


def test_an_integer_is_taken_for_a_float() -> None:
    body: Any = encode(GOOD)
    body["ratio"] = 2
    ratio = decode(Outer, body, "f").ratio
    assert ratio == 2.0
    assert type(ratio) is float


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_survives_bit_for_bit(number: float) -> None:
    data, digest = seal_json("x", [number])
    body, found = unseal_json(data, "x", "f", 1000)
    assert found == digest
    assert np.asarray(body).tobytes() == np.float64(number).tobytes()


@given(data=st.data())
def test_one_changed_byte_breaks_a_seal(data: st.DataObject) -> None:
    sealed = bytearray(seal_json("x", {"a": [1, 2.5, "text"]}, indent=1)[0])
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleError):
        unseal_json(bytes(sealed), "x", "f", 1000)

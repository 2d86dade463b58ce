"""For which sizes plans are built."""

from __future__ import annotations

import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.targets.base import EngineOptions
from edgeexit.targets.tensorrt.profiles import DEFAULT_BATCHES, DEFAULT_SIZES, profiles_of

X = TensorSpec("x", "float32", ("batch", 8))
WINDOWS = TensorSpec("w", "float32", ("4*batch", 4), 0, 4)
TEXT = TensorSpec("t", "int64", ("batch", "seq"))
PARAMS = TensorSpec("p", "float32", (3,), None, 0)
RANGES = {"batch": (1, 4, 16), "seq": (2, 32, 128)}


def test_one_sample_and_the_range_share_a_plan():
    fixed = profiles_of((X, WINDOWS, PARAMS), EngineOptions(dims={"batch": 1}, ranges=RANGES))
    assert fixed == profiles_of((X, WINDOWS, PARAMS), EngineOptions(ranges=RANGES))
    single, batches = fixed
    assert single == {"x": ((1, 8),) * 3, "w": ((4, 4),) * 3, "p": ((3,),) * 3}
    assert batches == {
        "x": ((1, 8), (4, 8), (16, 8)),
        "w": ((4, 4), (16, 4), (64, 4)),
        "p": ((3,),) * 3,
    }


def test_other_symbols_keep_their_range_in_both():
    single, batches = profiles_of((TEXT,), EngineOptions(ranges=RANGES))
    assert single == {"t": ((1, 2), (1, 32), (1, 128))}
    assert batches == {"t": ((1, 2), (4, 32), (16, 128))}
    pinned = profiles_of((TEXT,), EngineOptions(dims={"seq": 7}, ranges=RANGES))
    assert [profile["t"][2] for profile in pinned] == [(1, 7), (16, 7)]


@pytest.mark.parametrize(
    ("dims", "ranges", "expected"),
    [
        ({"batch": 5}, RANGES, [((5, 8),) * 3]),
        ({"batch": 1}, {}, [((1, 8),) * 3]),
        ({}, {"batch": (1, 1, 1)}, [((1, 8),) * 3]),
        ({}, {}, [((1, 8),) * 3, tuple((size, 8) for size in DEFAULT_BATCHES)]),
    ],
)
def test_other_batches_have_one_profile(dims, ranges, expected):
    found = profiles_of((X,), EngineOptions(dims=dims, ranges=ranges))
    assert [profile["x"] for profile in found] == expected


def test_static_graphs_have_none_and_unknown_symbols_a_default():
    assert profiles_of((PARAMS,), EngineOptions(ranges=RANGES)) == ()
    (only,) = profiles_of((TensorSpec("s", "int64", ("seq", 2), None, 0),), EngineOptions())
    assert only == {"s": tuple((size, 2) for size in DEFAULT_SIZES)}

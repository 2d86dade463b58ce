"""Which operators, opsets and element types the ONNX parser of a TensorRT version reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.errors import InputError

Version = tuple[int, int]
"""Major and minor number of a TensorRT version."""

_OLDEST: Version = (10, 0)
_FILE = Path(__file__).with_name("operators.json")


@dataclass(frozen=True)
class Operators:
    """What one version's parser reads.

    Attributes:
        version: The version.
        opsets: First and last opset that its documentation names; the parser checks neither.
        types: Element types by operator, as numpy and onnx name them: ``float16``, ``int64``.
        undocumented: Further types by operator. TensorRT-RTX reads them; the documentation of
            this version does not name them.
        later: The first version that knows an operator, for those that this one does not.
    """

    version: Version
    opsets: tuple[int, int]
    types: Mapping[str, frozenset[str]]
    undocumented: Mapping[str, frozenset[str]]
    later: Mapping[str, Version]


def parse_version(version: str) -> Version:
    """Return major and minor number of a version such as ``10.3`` or ``10.13.2.6``.

    Raises:
        InputError: It is no version, or older than 10.0.
    """
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(
            f"{version!r} is no TensorRT version; one is written like 10.3.",
            hint="name the version that the device's JetPack brings: 10.3 for JetPack 6.1 and 6.2.",
            code="tensorrt.version",
        )
    numbers = int(parts[0]), int(parts[1])
    if numbers < _OLDEST:
        raise InputError(
            f"TensorRT {version} is too old; edgeexit prepares graphs for 10.0 and later.",
            hint="update the device to JetPack 6.1 or later, which brings TensorRT 10.",
            code="tensorrt.version",
        )
    return numbers


def read_operators(version: str) -> Operators:
    """Return what the parser of a TensorRT version reads.

    A version newer than the table is taken for the newest in it.

    Args:
        version: Such as ``10.3``.

    Raises:
        InputError: It is no version, or older than 10.0.
    """
    wanted = parse_version(version)
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    types: dict[str, set[str]] = {}
    later: dict[str, Version] = {}
    for row in data["operators"]:
        since = parse_version(row["since"])
        for operator in row["operators"]:
            if since <= wanted:
                types[operator] = set(row["types"])
            else:
                later[operator] = since
    for since, added in data["types_since"].items():
        if parse_version(since) <= wanted:
            for operator, names in added.items():
                types[operator].update(names)
    for name, refusing in data["refused"].items():
        for operator in refusing:
            types[operator].discard(name)
    opsets = [range_ for since, range_ in data["opsets"].items() if parse_version(since) <= wanted]
    return Operators(
        version=wanted,
        opsets=(opsets[-1][0], opsets[-1][1]),
        types={operator: frozenset(names) for operator, names in types.items()},
        undocumented=_by_operator(data["undocumented"]),
        later=later,
    )


def _by_operator(by_type: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    operators = {operator for names in by_type.values() for operator in names}
    return {
        operator: frozenset(name for name, names in by_type.items() if operator in names)
        for operator in operators
    }

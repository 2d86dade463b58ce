"""How many bytes a value takes."""

from __future__ import annotations

import math

import onnx_ir as ir

_SYMBOL_SIZE = 64
"""Size assumed for a dynamic axis other than the batch; only comparisons depend on it."""

_UNKNOWN_BYTES = 1 << 50
"""Bytes of a value of unknown shape: dearer than any known one, so it is rebuilt if it can be."""


def value_bytes(value: ir.Value) -> int:
    """Return the bytes of a value for one sample; dynamic axes count as 64."""
    if value.shape is None or value.dtype is None:
        return _UNKNOWN_BYTES
    sizes = [
        dim if isinstance(dim, int) else 1 if str(dim.value) == "batch" else _SYMBOL_SIZE
        for dim in value.shape
    ]
    return math.ceil(math.prod(sizes) * value.dtype.itemsize)

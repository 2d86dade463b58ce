"""How much crosses the end of a stage."""

from __future__ import annotations

from edgeexit.bundle.specs import StageSpec, TensorSpec, dim_symbol

_DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8, "bool": 1}


def boundary_bytes(stage: StageSpec) -> int:
    """Return the bytes that cross the stage's end for one sample; an unknown size counts as 1."""
    return sum(_tensor_bytes(spec) for spec in stage.carried_out)


def _tensor_bytes(spec: TensorSpec) -> int:
    symbols = {symbol for dim in spec.shape if (symbol := dim_symbol(dim))}
    elements = 1
    for size in spec.resolve(dict.fromkeys(symbols, 1)):
        elements *= size
    bits = "".join(filter(str.isdigit, spec.dtype)) or "8"
    return elements * _DTYPE_BYTES.get(spec.dtype, int(bits) // 8)

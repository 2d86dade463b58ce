"""Constants that mean "as far as the type goes": float32's limit becomes one that float16 has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeexit.graph.constants import add_constant, contents

LARGEST_HALF = 65504.0
"""Largest finite float16: (2 - 2^-10) · 2^15."""

HALF_LIMIT = LARGEST_HALF / 4
"""Largest magnitude, of what was measured, that is left to float16.

The inputs to come reach further than the few that are measured; a factor of 4 is left to them. It
lies above 10 000, which many models add where attention is masked.
"""

BOUND = HALF_LIMIT / 2
"""What stands for minus infinity in a mask: two masks added stay within :data:`HALF_LIMIT`, and
exp(-8188) is 0 in every type."""

_CARRIERS = frozenset(
    (
        *("Add", "Cast", "Concat", "Expand", "Gather", "Max", "Min", "Mul", "Reshape", "Slice"),
        *("Squeeze", "Sub", "Sum", "Tile", "Transpose", "Unsqueeze", "Where"),
    )
)
"""What may lie between a mask's constant and the softmax that it is for."""

_FARTHEST = 12
_LIMITERS = frozenset({"Clip", "Max", "Min"})
_BOUND_PORTS = {"Clip": (1, 2), "Pad": (2,), "Where": (1, 2), "Max": None, "Min": None}


def clamp_bounds(graph: ir.Graph) -> tuple[str, ...]:
    """Replace finite constants beyond float16 that are only bounds; leave all other numbers.

    1. Limits of a Clip, Max or Min become ±65504.
    2. The fill of a Where or Pad, and what is added to or multiplied into the input of a softmax,
       become ±8188.
    3. So does the value of a ConstantOfShape before one of these.

    Infinities stay: float16 has them.

    Args:
        graph: Changed in place.

    Returns:
        Names of the constants.
    """
    clamped: list[str] = []
    for node in list(graph):
        for port in _bound_ports(node):
            value, array = node.inputs[port], contents(node, port)
            if array is None or array.dtype != np.float32 or not _exceeds(array):
                continue
            limit = LARGEST_HALF if node.op_type in _LIMITERS else BOUND
            name = f"{value.name}.clamped" if value is not None else "clamped"
            node.replace_input_with(port, add_constant(graph, name, _clamp(array, limit)))
            clamped.append(name.removesuffix(".clamped"))
        if node.op_type == "ConstantOfShape" and _clamp_fill(node):
            clamped.append(str(node.name))
    return tuple(dict.fromkeys(clamped))


def _bound_ports(node: ir.Node) -> Iterator[int]:
    """Yield the inputs at which a constant is a bound rather than a number to compute with."""
    if node.op_type in _BOUND_PORTS:
        ports = _BOUND_PORTS[node.op_type] or range(len(node.inputs))
        yield from (port for port in ports if port < len(node.inputs))
    elif node.op_type in ("Add", "Mul", "Sub", "Sum") and _reaches_softmax(node):
        yield from range(len(node.inputs))


def _reaches_softmax(node: ir.Node) -> bool:
    pending, seen = [(node, 0)], {node}
    while pending:
        current, depth = pending.pop()
        for output in current.outputs:
            for reader, _ in output.uses():
                if reader.op_type in ("Softmax", "LogSoftmax"):
                    return True
                if reader.op_type in _CARRIERS and depth < _FARTHEST and reader not in seen:
                    seen.add(reader)
                    pending.append((reader, depth + 1))
    return False


def _clamp_fill(node: ir.Node) -> bool:
    fill = node.attributes.get("value")
    array = fill.as_tensor().numpy() if fill is not None else np.zeros(1, np.float32)
    if array.dtype != np.float32 or not _exceeds(array) or not _reaches_softmax(node):
        return False
    node.attributes["value"] = ir.AttrTensor("value", ir.tensor(_clamp(array, BOUND)))
    return True


def _exceeds(array: npt.NDArray[Any]) -> bool:
    finite = array[np.isfinite(array)]
    return bool((np.abs(finite) > LARGEST_HALF).any())


def _clamp(array: npt.NDArray[Any], limit: float) -> npt.NDArray[np.float32]:
    beyond = np.isfinite(array) & (np.abs(array) > LARGEST_HALF)
    return np.where(beyond, np.copysign(np.float32(limit), array), array).astype(np.float32)

"""Scales of quantization pairs that float16 can hold: positive and normal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeexit.graph.constants import add_constant, along, contents, scale_axis

SMALLEST_SCALE = float(np.finfo(np.float16).smallest_normal)
"""2^-14 = 6.1e-5: engines may take what is below for zero, and divide by it."""

_DEAD = 2.0**-10
"""A channel whose scale is below this share of the tensor's largest is dead: its weights are less
than a thousandth of the others', and as float16 beside them they would count as little."""


def raise_dead_scales(graph: ir.Graph) -> tuple[str, ...]:
    """Requantize dead output channels of stored weights to the scale 2^-14.

    Their weights change by at most 2^-15. A living channel with a smaller scale is left: it
    would lose what it knows, so the product keeps float32 around its int8 operands instead.

    Args:
        graph: Changed in place.

    Returns:
        Names of the DequantizeLinear nodes.
    """
    changed: list[str] = []
    for node in graph:
        weight, scale = contents(node, 0), contents(node, 1)
        if node.op_type != "DequantizeLinear" or weight is None or scale is None:
            continue
        dead = _dead_channels(node, weight, scale)
        if weight.dtype != np.int8 or scale.dtype != np.float32 or not dead.any():
            continue
        raised = np.where(dead, np.float32(SMALLEST_SCALE), scale).astype(np.float32)
        ratio = along(scale / raised, weight.ndim, scale_axis(node))
        name = str(node.name)
        stored = np.rint(weight * ratio).astype(np.int8)
        node.replace_input_with(0, add_constant(graph, f"{name}.raised", stored))
        node.replace_input_with(1, add_constant(graph, f"{name}.raised_scale", raised))
        changed.append(name)
    return tuple(changed)


def _dead_channels(
    node: ir.Node, weight: npt.NDArray[Any], scale: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Return which scales are too small for float16 and do not matter."""
    channels = weight if scale.size == 1 else np.moveaxis(weight, scale_axis(node), 0)
    nothing = ~channels.reshape(scale.size, -1).any(axis=1).reshape(scale.shape)
    dead: npt.NDArray[np.bool_] = (scale < SMALLEST_SCALE) & (
        nothing | (scale <= scale.max() * _DEAD)
    )
    return dead


def holds_scale(node: ir.Node) -> bool:
    """Tell whether float16 holds the scales of a QuantizeLinear or DequantizeLinear."""
    scale = contents(node, 1)
    if scale is None:
        return True
    return bool(scale.min() >= SMALLEST_SCALE and scale.max() <= np.finfo(np.float16).max)

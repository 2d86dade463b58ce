"""Constants of a graph: read at a node's input, shaped, or added under a name of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


def contents(node: ir.Node, port: int) -> npt.NDArray[Any] | None:
    """Return the constant at a node's input, or None where there is none."""
    value = node.inputs[port] if len(node.inputs) > port else None
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def scale_axis(node: ir.Node) -> int:
    """Return the axis of a quantization pair's scales, as its node says; 1 is ONNX's default."""
    return node.attributes["axis"].as_int() if "axis" in node.attributes else 1


def along(parameter: npt.NDArray[Any], rank: int, axis: int) -> npt.NDArray[Any]:
    """Shape per-channel parameters ``(channels,)`` so that they broadcast along ``axis``."""
    if parameter.size == 1:
        return parameter.reshape(())
    shape = [1] * rank
    shape[axis] = parameter.size
    return parameter.reshape(shape)


def new_constant(name: str, array: npt.NDArray[Any]) -> ir.Value:
    """Return a value that holds an array; the caller registers it in a graph."""
    tensor = ir.tensor(array, name=name)
    return ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )


def add_constant(graph: ir.Graph, name: str, array: npt.NDArray[Any]) -> ir.Value:
    """Add an initializer to a graph; where the name is taken it gets a number."""
    number, unused = 1, name
    while unused in graph.initializers:
        unused = f"{name}_{number}"
        number += 1
    value = new_constant(unused, np.asarray(array))
    graph.register_initializer(value)
    return value

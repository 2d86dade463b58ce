"""Constants of a graph: read at a node's input, or added under a name of their own."""

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

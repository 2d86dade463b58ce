"""Small constants are computed once, at compile time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from edgeexit.graph.constants import new_constant
from edgeexit.graph.shapes import infer_shapes

_LARGEST_FOLDED = 64 * 1024
"""Bytes; larger constants stay as they are, so weights in external files stay there."""

_GROWING = frozenset({"ConstantOfShape", "Expand", "Pad", "Range", "Resize", "Tile"})
"""Operations whose result may be far larger than what they read."""

_ROUNDS = 8
"""Folding a shape can make further shapes known; exported networks need two or three rounds."""

_KEPT = frozenset(
    {
        "Bernoulli",
        "DequantizeLinear",
        "Multinomial",
        "QuantizeLinear",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Random operations, and the pairs that mark what is quantized."""


def fold_constants(model: ir.Model) -> None:
    """Replace nodes whose result is known by initializers, and infer shapes anew.

    1. Shape of a value whose sizes are all numbers.
    2. Gather or Slice from a Shape, where the axes taken are numbers.
    3. Any deterministic operation on constants that yields at most 64 KiB.

    Args:
        model: Changed in place; it has no Constant nodes, only initializers.
    """
    infer_shapes(model)
    for _ in range(_ROUNDS):
        folded = False
        for node in list(model.graph):
            result = _shape_result(node) if len(node.outputs) == 1 else None
            if result is None:
                result = _constant_result(node, model.graph.opset_imports)
            if result is not None:
                _replace(model.graph, node, result)
                folded = True
        if not folded:
            return
        infer_shapes(model)


def _shape_result(node: ir.Node) -> npt.NDArray[Any] | None:
    """Return the value of a node that reads sizes (cases 1 and 2), or None."""
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "Shape":
        sizes = _sizes(node)
        return None if sizes is None or None in sizes else np.array(sizes, dtype=np.int64)
    source = node.inputs[0].producer()
    if source is None or source.op_type != "Shape" or node.op_type not in ("Gather", "Slice"):
        return None
    sizes, parameters = _sizes(source), [_small(v) for v in node.inputs[1:] if v is not None]
    if sizes is None or any(p is None for p in parameters):
        return None
    # Positions are gathered in place of sizes, so one rule serves both operations.
    positions = _evaluate(node, [np.arange(len(sizes)), *parameters], {"": 18})
    if positions is None:
        return None
    taken = [sizes[int(position)] for position in np.ravel(positions)]
    return None if None in taken else np.array(taken, dtype=np.int64).reshape(positions.shape)


def _sizes(node: ir.Node) -> list[int | None] | None:
    """Return what a Shape node yields: a number an axis, None where it is dynamic."""
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    sizes = [dim if isinstance(dim, int) else None for dim in value.shape]
    start = node.attributes["start"].as_int() if "start" in node.attributes else None
    end = node.attributes["end"].as_int() if "end" in node.attributes else None
    return sizes[start:end]


def _constant_result(node: ir.Node, opsets: dict[str, int]) -> npt.NDArray[Any] | None:
    """Return the value of a node that reads small constants only (case 3), or None."""
    if node.domain not in ("", "ai.onnx") or node.op_type in _KEPT or len(node.outputs) != 1:
        return None
    if not node.inputs or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
        return None
    if node.op_type in _GROWING and not _is_known_small(node.outputs[0]):
        return None
    arrays = [None if value is None else _small(value) for value in node.inputs]
    if any(a is None for a, v in zip(arrays, node.inputs, strict=True) if v is not None):
        return None
    return _evaluate(node, arrays, opsets)


def _small(value: ir.Value) -> npt.NDArray[Any] | None:
    """Return the contents of a small initializer, or None."""
    tensor = value.const_value
    if tensor is None or not value.is_initializer() or tensor.nbytes > _LARGEST_FOLDED:
        return None
    return tensor.numpy()


def _is_known_small(value: ir.Value) -> bool:
    """Tell whether a value's inferred shape is known and keeps it under the limit."""
    if value.shape is None or not value.shape.is_static() or value.dtype is None:
        return False
    elements = math.prod(dim for dim in value.shape if isinstance(dim, int))
    return elements * value.dtype.itemsize <= _LARGEST_FOLDED


def _evaluate(
    node: ir.Node, arrays: Sequence[npt.NDArray[Any] | None], opsets: dict[str, int]
) -> npt.NDArray[Any] | None:
    """Run one node on constants with onnx's reference operations; None where they cannot."""
    names = ["" if array is None else f"x{i}" for i, array in enumerate(arrays)]
    proto = ir.serde.serialize_node(node)
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.append("y")
    feeds = {name: array for name, array in zip(names, arrays, strict=True) if name}
    function = onnx.helper.make_function(
        "edgeexit",
        "fold",
        list(feeds),
        ["y"],
        [proto],
        [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()],
    )
    try:
        results: Any = ReferenceEvaluator(function).run(None, feeds, attributes={})
    except Exception:
        # What the reference cannot compute stays in the graph, where the engine will.
        return None
    result = results[0]
    small = isinstance(result, np.ndarray | np.generic) and result.nbytes <= _LARGEST_FOLDED
    return np.asarray(result) if small else None


def _replace(graph: ir.Graph, node: ir.Node, result: npt.NDArray[Any]) -> None:
    """Put an initializer in place of a node with one output."""
    old = node.outputs[0]
    if old.is_graph_output():
        return
    constant = new_constant(str(old.name), result)
    old.replace_all_uses_with(constant)
    graph.remove(node, safe=True)
    graph.register_initializer(constant)

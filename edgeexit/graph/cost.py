"""What a graph costs: floating-point operations, parameters, bytes.

FLOPs here are those of matrix products and convolutions, 2 a multiply-add, the convention of
``torch.utils.flop_counter`` and of the papers on early exits; everything else (activations,
normalisation, pooling, moves, QuantizeLinear and DequantizeLinear) counts as nothing. What that
leaves out can be had from :func:`node_elements`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from edgeexit.bundle.specs import TensorSpec
from edgeexit.graph.flop_rules import FLOP_RULES, known_shape
from edgeexit.graph.folding import fold_constants
from edgeexit.graph.shapes import set_symbols

_MOVES = frozenset(
    {
        "Cast",
        "CastLike",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "DepthToSpace",
        "DequantizeLinear",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "QuantizeLinear",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operations that move data and compute nothing."""


def node_flops(model: ir.Model, dims: Mapping[str, int]) -> dict[str, int]:
    """Return the FLOPs of every node: matrix products and convolutions, 2 a multiply-add.

    Args:
        model: A normalized model; it is not changed, and its weights are not copied.
        dims: A size for each dynamic axis, e.g. ``{"batch": 1}``.

    Returns:
        FLOPs by node name; nodes that are no matrix product or convolution have 0.

    Raises:
        ModelError: A product's shape is not known at these sizes.
    """
    sized = _with_sizes(model, dims)
    counted = {
        str(node.name): FLOP_RULES[node.op_type](node) if node.op_type in FLOP_RULES else 0
        for node in sized.graph
    }
    return {str(node.name): counted.get(str(node.name), 0) for node in model.graph}


def node_elements(model: ir.Model, dims: Mapping[str, int]) -> dict[str, int]:
    """Return the elementwise operations of every node that :func:`node_flops` counts as 0.

    One an element of the node's largest input or output, so a reduction counts what it reads;
    0 for moves, quantization pairs, matrix products and convolutions.

    Raises:
        ModelError: A shape is not known at these sizes.
    """
    counted = {}
    for node in _with_sizes(model, dims).graph:
        free = node.op_type in _MOVES or node.op_type in FLOP_RULES
        values = [] if free else [*node.inputs, *node.outputs]
        sizes = [math.prod(known_shape(node, v)) for v in values if v is not None and v.name]
        counted[str(node.name)] = max(sizes, default=0)
    return {str(node.name): counted.get(str(node.name), 0) for node in model.graph}


def count_params(initializers: Iterable[ir.Value]) -> int:
    """Return the number of parameters among initializers.

    Floating-point and 8- or 4-bit tensors of more than one element count; indices, shapes and the
    scales and zero points of quantization do not.
    """
    return sum(
        value.const_value.size
        for value in initializers
        if value.const_value is not None and value.const_value.size > 1 and _is_parameter(value)
    )


def _is_parameter(value: ir.Value) -> bool:
    assert value.const_value is not None
    dtype = value.const_value.dtype
    if not dtype.is_floating_point() and dtype.itemsize > 1:
        return False
    scales = [
        index > 0 and node.op_type in ("QuantizeLinear", "DequantizeLinear")
        for node, index in value.uses()
    ]
    return dtype != ir.DataType.BOOL and not (scales and all(scales))


def tensor_bytes(spec: TensorSpec, dims: Mapping[str, int]) -> int:
    """Return the bytes of a tensor where each symbol has the size given in ``dims``.

    Raises:
        InputError: A symbol has no size.
    """
    itemsize = 2 if spec.dtype == "bfloat16" else np.dtype(spec.dtype).itemsize
    return math.prod(spec.resolve(dims)) * itemsize


def _with_sizes(model: ir.Model, dims: Mapping[str, int]) -> ir.Model:
    """Return a copy whose dynamic axes have the given sizes, its shapes inferred anew."""
    sized = model.clone()
    set_symbols(sized, dims)
    fold_constants(sized)
    return sized

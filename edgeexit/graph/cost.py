"""What a graph costs: floating-point operations, parameters, bytes.

FLOPs here are those of matrix products and convolutions, 2 a multiply-add, the convention of
``torch.utils.flop_counter`` and of the papers on early exits; everything else (activations,
normalisation, pooling, moves, QuantizeLinear and DequantizeLinear) counts as nothing. What that
leaves out can be had from :func:`node_elements`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx_ir as ir

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import ModelError
from edgeexit.graph.folding import fold_constants
from edgeexit.graph.shapes import set_symbols

_Rule = Callable[[ir.Node], int]

_MOVES = frozenset(
    "Cast CastLike Concat Constant ConstantOfShape DepthToSpace DequantizeLinear Expand Flatten "
    "Gather GatherElements GatherND Identity Pad QuantizeLinear Reshape Shape Size Slice "
    "SpaceToDepth Split Squeeze Tile Transpose Unsqueeze".split()
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
        str(node.name): _RULES[node.op_type](node) if node.op_type in _RULES else 0
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
        free = node.op_type in _MOVES or node.op_type in _RULES
        values = [] if free else [*node.inputs, *node.outputs]
        sizes = [math.prod(_shape(node, v)) for v in values if v is not None and v.name]
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


def _shape(node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
    """Return the sizes of a value.

    Raises:
        ModelError: One is not known.
    """
    if value is None or value.shape is None or not value.shape.is_static():
        known = "unknown" if value is None or value.shape is None else str(value.shape)
        name = "" if value is None else value.name
        raise ModelError(
            f"node {node.name!r} ({node.op_type}) reads or writes {name!r}, whose shape is {known}, "
            "so its cost cannot be counted.",
            hint="fix the model's dynamic axes with --input-shape.",
            code="model.shape",
        )
    return tuple(int(dim) for dim in value.shape if isinstance(dim, int))


def _matmul(node: ir.Node) -> int:
    """2 · elements of the result · length of the contracted axis."""
    return 2 * math.prod(_shape(node, node.outputs[0])) * _shape(node, node.inputs[0])[-1]



def _gemm(node: ir.Node) -> int:
    transposed = "transA" in node.attributes and node.attributes["transA"].as_int() == 1
    inner = _shape(node, node.inputs[0])[0 if transposed else 1]
    return 2 * math.prod(_shape(node, node.outputs[0])) * inner


def _conv(node: ir.Node, weight: int = 1) -> int:
    """2 · elements of the result · input channels a group · kernel size."""
    kernel = _shape(node, node.inputs[weight])
    return 2 * math.prod(_shape(node, node.outputs[0])) * math.prod(kernel[1:])


def _qlinear_conv(node: ir.Node) -> int:
    return _conv(node, weight=3)


def _conv_transpose(node: ir.Node) -> int:
    """2 · elements of the input · output channels a group · kernel size."""
    kernel = _shape(node, node.inputs[1])
    return 2 * math.prod(_shape(node, node.inputs[0])) * math.prod(kernel[1:])


def _einsum(node: ir.Node) -> int:
    """Contract the operands from left to right; each step costs 2 · the sizes of all its indices.

    An index stays until no later operand and not the result has it.
    """
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    labels = _expand_labels(terms.split(","), [_shape(node, value) for value in node.inputs])
    sizes: dict[str, int] = {}
    for term, value in zip(labels, node.inputs, strict=True):
        for label, size in zip(term, _shape(node, value), strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    if not arrow:
        joined = "".join(terms.split(","))
        result = "".join(label for label in set(joined) if joined.count(label) == 1)
    kept_last = set(result) | {label for term in labels for label in term if label.isdigit()}
    total, current = 0, set(labels[0])
    for position, term in enumerate(labels[1:], start=1):
        current |= set(term)
        total += 2 * math.prod(sizes[label] for label in current)
        later = {label for other in labels[position + 1 :] for label in other}
        current &= later | kept_last
    return total


def _expand_labels(terms: list[str], shapes: list[tuple[int, ...]]) -> list[list[str]]:
    """Return a label an axis; the axes under an ellipsis are labelled by digits from the right."""
    labels = []
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        hidden = len(shape) - len(before) - len(after) if dots else 0
        labels.append([*before, *(str(hidden - 1 - i) for i in range(hidden)), *after])
    return labels


def _attention(node: ir.Node) -> int:
    """Scores and weighted sum of ``Attention`` (opset 23): 2 · B · H · L · S · (E_qk + E_v)."""
    query, key, value = (_shape(node, v) for v in node.inputs[:3])
    if len(query) == 3:  # noqa: PLR2004 - (batch, length, heads * size) needs no head count
        heads_q, heads_kv = (node.attributes[n].as_int() for n in ("q_num_heads", "kv_num_heads"))
        width = query[-1] + value[-1] // heads_kv * heads_q
        return 2 * query[0] * query[1] * key[1] * width
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def _recurrent(node: ir.Node) -> int:
    """2 · steps · batch · directions · gates · hidden · (input + hidden) of LSTM, GRU and RNN."""
    steps, batch = _shape(node, node.inputs[0])[:2]
    weights = math.prod(_shape(node, node.inputs[1])) + math.prod(_shape(node, node.inputs[2]))
    return 2 * steps * batch * weights


_RULES: dict[str, _Rule] = {
    "Attention": _attention,
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _matmul,
    "RNN": _recurrent,
}

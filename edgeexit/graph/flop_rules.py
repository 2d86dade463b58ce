"""FLOPs of a matrix product or convolution, 2 a multiply-add, from the shapes around a node."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from edgeexit.errors import ModelError


def known_shape(node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
    """Return the sizes of a value.

    Raises:
        ModelError: One is not known.
    """
    if value is None or value.shape is None or not value.shape.is_static():
        known = "unknown" if value is None or value.shape is None else str(value.shape)
        name = "" if value is None else value.name
        raise ModelError(
            f"node {node.name!r} ({node.op_type}) reads or writes {name!r}, whose shape is "
            f"{known}, so its cost cannot be counted.",
            hint="fix the model's dynamic axes with --input-shape.",
            code="model.shape",
        )
    return tuple(int(dim) for dim in value.shape if isinstance(dim, int))


def _matmul(node: ir.Node) -> int:
    """2 · elements of the result · length of the contracted axis."""
    return 2 * math.prod(known_shape(node, node.outputs[0])) * known_shape(node, node.inputs[0])[-1]


def _gemm(node: ir.Node) -> int:
    transposed = "transA" in node.attributes and node.attributes["transA"].as_int() == 1
    inner = known_shape(node, node.inputs[0])[0 if transposed else 1]
    return 2 * math.prod(known_shape(node, node.outputs[0])) * inner


def _conv(node: ir.Node, weight: int = 1) -> int:
    """2 · elements of the result · input channels a group · kernel size."""
    kernel = known_shape(node, node.inputs[weight])
    return 2 * math.prod(known_shape(node, node.outputs[0])) * math.prod(kernel[1:])


def _qlinear_conv(node: ir.Node) -> int:
    return _conv(node, weight=3)


def _conv_transpose(node: ir.Node) -> int:
    """2 · elements of the input · output channels a group · kernel size."""
    kernel = known_shape(node, node.inputs[1])
    return 2 * math.prod(known_shape(node, node.inputs[0])) * math.prod(kernel[1:])


def _einsum(node: ir.Node) -> int:
    """Contract the operands from left to right; each step costs 2 · the sizes of all its indices.

    An index stays until no later operand and not the result has it.
    """
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    labels = _expand_labels(terms.split(","), [known_shape(node, value) for value in node.inputs])
    sizes: dict[str, int] = {}
    for term, value in zip(labels, node.inputs, strict=True):
        for label, size in zip(term, known_shape(node, value), strict=True):
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
    query, key, value = (known_shape(node, v) for v in node.inputs[:3])
    if len(query) == 3:
        heads_q, heads_kv = (node.attributes[n].as_int() for n in ("q_num_heads", "kv_num_heads"))
        width = query[-1] + value[-1] // heads_kv * heads_q
        return 2 * query[0] * query[1] * key[1] * width
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def _recurrent(node: ir.Node) -> int:
    """2 · steps · batch · directions · gates · hidden · (input + hidden) of LSTM, GRU and RNN."""
    steps, batch = known_shape(node, node.inputs[0])[:2]
    weights = math.prod(known_shape(node, node.inputs[1])) + math.prod(
        known_shape(node, node.inputs[2])
    )
    return 2 * steps * batch * weights


FLOP_RULES: Mapping[str, Callable[[ir.Node], int]] = {
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
"""One function an operation; all others count as nothing."""

"""What a quantizer leaves, brought into the one form that every engine reads.

That form: int8, zero point 0, weights stored as int8 per output channel, activations per tensor.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from edgeexit.graph.constants import add_constant, along, contents, scale_axis
from edgeexit.graph.shapes import infer_shapes

_Q, _DQ = "QuantizeLinear", "DequantizeLinear"
_INT8 = np.iinfo(np.int8)

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operations that engines run in int8."""


def repair_quantization(model: ir.Model) -> None:
    """Run all repairs on a model with QuantizeLinear and DequantizeLinear pairs.

    Args:
        model: Changed in place.
    """
    fold_weight_quantizers(model.graph)
    signed_activations(model.graph)
    signed_weights(model.graph)
    remove_duplicate_pairs(model.graph)
    remove_half_pairs(model.graph)
    square_by_power(model.graph)
    common.RemoveUnusedNodesPass()(model)
    infer_shapes(model)


def fold_weight_quantizers(graph: ir.Graph) -> None:
    """Quantize constant weights now: an int8 initializer in place of QuantizeLinear.

    q = clip(round(w / scale) + zero_point), round half to even, as ONNX defines QuantizeLinear.
    """
    for node in list(graph):
        weight, scale, zero = (contents(node, port) for port in range(3))
        if node.op_type != _Q or weight is None or scale is None:
            continue
        zero = np.zeros_like(scale, dtype=np.uint8) if zero is None else zero
        axis = scale_axis(node)
        limits = np.iinfo(zero.dtype)
        ratio = weight / along(scale, weight.ndim, axis) + along(zero, weight.ndim, axis)
        quantized = np.clip(np.rint(ratio), limits.min, limits.max).astype(zero.dtype)
        value = add_constant(graph, str(node.outputs[0].name), quantized)
        node.outputs[0].replace_all_uses_with(value)
        graph.remove(node, safe=True)


def signed_activations(graph: ir.Graph) -> None:
    """Turn quantizers of activations into int8 with zero point 0 that cover the same range.

    1. uint8 with zero point 0 (after ReLU): scale · 255/127. The resolution halves.
    2. Any other zero point z: scale · max(|low - z|, |high - z|)/127, with the type's limits.
    3. One scale a channel: the largest of them for all.

    A quantizer that something other than DequantizeLinear reads is left; the lint names it.
    """
    for node in list(graph):
        if node.op_type != _Q or contents(node, 0) is not None:
            continue
        readers = [reader for reader, _ in node.outputs[0].uses()]
        repaired, old = _symmetric(node), contents(node, 1)
        if repaired is None and old is not None and old.size > 1:
            repaired = old
        if repaired is None or any(reader.op_type != _DQ for reader in readers):
            continue
        repaired = repaired.max()
        scale = add_constant(graph, f"{node.outputs[0].name}.scale", np.asarray(repaired))
        zero = add_constant(graph, f"{node.outputs[0].name}.zero_point", np.zeros((), np.int8))
        for pair in (node, *readers):
            pair.resize_inputs(3)
            pair.replace_input_with(1, scale)
            pair.replace_input_with(2, zero)
        node.outputs[0].dtype = ir.DataType.INT8


def signed_weights(graph: ir.Graph) -> None:
    """Requantize stored weights to int8 with zero point 0; those that are so already stay."""
    for node in list(graph):
        weight, old = contents(node, 0), contents(node, 1)
        if node.op_type != _DQ or weight is None or old is None or weight.dtype.itemsize > 1:
            continue
        scale = _symmetric(node)
        if scale is None:
            continue
        axis, zero = scale_axis(node), contents(node, 2)
        shift = np.zeros((), weight.dtype) if zero is None else along(zero, weight.ndim, axis)
        real = (weight.astype(np.float64) - shift) * along(old, weight.ndim, axis)
        ratio = np.rint(real / along(scale, weight.ndim, axis))
        name = str(node.inputs[0].name)  # type: ignore[union-attr]
        stored = np.clip(ratio, -_INT8.max, _INT8.max).astype(np.int8)
        node.resize_inputs(3)
        node.replace_input_with(0, add_constant(graph, f"{name}.int8", stored))
        node.replace_input_with(1, add_constant(graph, f"{name}.scale", scale))
        node.replace_input_with(2, add_constant(graph, f"{name}.zero", scale.astype(np.int8) * 0))


def remove_duplicate_pairs(graph: ir.Graph) -> None:
    """Keep one of equal quantizers.

    1. Two Q, or two DQ, of one value with the same parameters: the second is dropped.
    2. Q after DQ with the same parameters changes nothing: both are bypassed.
    """
    seen: dict[Hashable, ir.Value] = {}
    for node in list(graph):
        if node.op_type not in (_Q, _DQ) or node.inputs[0] is None:
            continue
        output = node.outputs[0]
        before = node.inputs[0].producer()
        if node.op_type == _Q and before is not None and before.op_type == _DQ:
            same = _parameters(before) == _parameters(node) and before.inputs[0] is not None
            if same and before.inputs[0].dtype == output.dtype:  # type: ignore[union-attr]
                output.replace_all_uses_with(before.inputs[0])  # type: ignore[arg-type]
                graph.remove(node, safe=True)
                continue
        key = (node.op_type, node.inputs[0], _parameters(node))
        if key in seen and not output.is_graph_output():
            output.replace_all_uses_with(seen[key])
            graph.remove(node, safe=True)
        else:
            seen[key] = output


def remove_half_pairs(graph: ir.Graph) -> None:
    """Bypass pairs on activations that enter only products whose other operand is float.

    Such a product runs in float, so its pair costs time and accuracy and saves nothing. NNCF
    leaves one on the queries of attention whose keys it cannot quantize.
    """
    for node in list(graph):
        quantizer = node.inputs[0].producer() if node.op_type == _DQ and node.inputs[0] else None
        if quantizer is None or quantizer.op_type != _Q or node.outputs[0].is_graph_output():
            continue
        source, readers = quantizer.inputs[0], [reader for reader, _ in node.outputs[0].uses()]
        if source is not None and readers and all(_is_half_quantized(r) for r in readers):
            node.outputs[0].replace_all_uses_with(source)
            graph.remove(node, safe=True)


def square_by_power(graph: ir.Graph) -> None:
    """Write ``x * x`` behind a matrix product as ``x ** 2``, and ``x + x`` as ``x * 2``.

    OpenVINO 2026.4.1 applies the scale of an int8 MatMul of two activations twice where both
    operands of the operation behind it are its output: wrong logits without a word.
    """
    for node in list(graph):
        if node.op_type not in ("Mul", "Add") or node.inputs[0] is not node.inputs[1]:
            continue
        producer = node.inputs[0].producer() if node.inputs[0] is not None else None
        if producer is None or producer.op_type not in PRODUCTS:
            continue
        dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
        two = np.asarray(2.0, dtype=np.float32 if dtype is None else dtype.numpy())
        constant = add_constant(graph, f"{node.outputs[0].name}.two", two)
        node.op_type = "Pow" if node.op_type == "Mul" else "Mul"
        node.replace_input_with(1, constant)


def _is_half_quantized(node: ir.Node) -> bool:
    """Tell whether a node is a product, and one of its operands is float."""
    producers = [value.producer() if value is not None else None for value in node.inputs[:2]]
    return node.op_type in PRODUCTS and any(p is None or p.op_type != _DQ for p in producers)


def _symmetric(node: ir.Node) -> npt.NDArray[np.float32] | None:
    """Return the scale with which int8 and zero point 0 cover the range of a Q or DQ node.

    None where it is int8 with zero point 0 already, or its parameters are not constant.
    """
    scale, zero = contents(node, 1), contents(node, 2)
    if scale is None:
        return None
    if zero is None:
        quantized = node.inputs[0] if node.op_type == _DQ else node.outputs[0]
        signed = quantized is not None and quantized.dtype == ir.DataType.INT8
        zero = np.zeros_like(scale, dtype=np.int8 if signed else np.uint8)
    if zero.dtype == np.int8 and not zero.any():
        return None
    if zero.dtype not in (np.int8, np.uint8):
        return None
    limits, middle = np.iinfo(zero.dtype), zero.astype(np.float64)
    reach = np.maximum(np.abs(limits.min - middle), np.abs(limits.max - middle))
    widened: npt.NDArray[np.float32] = (scale * reach / _INT8.max).astype(scale.dtype)
    return widened


def _parameters(node: ir.Node) -> tuple[Hashable, ...]:
    """Return scale, zero point and axis in a form that can be compared."""
    arrays = [contents(node, port) for port in (1, 2)]
    return (*(None if a is None else (a.tobytes(), a.dtype.str) for a in arrays), scale_axis(node))

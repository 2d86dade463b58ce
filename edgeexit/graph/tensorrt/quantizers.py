"""What TensorRT refuses or misreads of QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeexit.graph.constants import contents, scale_axis
from edgeexit.graph.tensorrt.rules import QUANTIZERS, Fault

_FLOATS = {ir.DataType.FLOAT: "float32", ir.DataType.FLOAT16: "float16"}


def quantizer_faults(node: ir.Node) -> Iterator[Fault]:
    """Check one Q or DQ node beyond what :func:`edgeexit.graph.lint.lint` checks."""
    if node.op_type not in QUANTIZERS or node.domain not in ("", "ai.onnx"):
        return
    yield from _integer_faults(node)
    yield from _layout_faults(node)
    yield from _scale_type_faults(node)
    if len(node.inputs) > 2 and node.inputs[2] is not None and contents(node, 2) is None:
        yield Fault(
            "zero-point",
            f"its zero point, {node.inputs[2].name!r}, is computed; TensorRT wants a constant.",
            "Quantize the model statically.",
        )


def _integer_faults(node: ir.Node) -> Iterator[Fault]:
    """Check the type it quantizes to; without a zero point ONNX says uint8, TensorRT int8."""
    quantizes = node.op_type == "QuantizeLinear"
    quantized = node.outputs[0] if quantizes else node.inputs[0]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    declared = "output_dtype" in node.attributes and node.attributes["output_dtype"].as_int()
    if quantizes and zero is None and not declared:
        yield Fault(
            "unsigned",
            "it has no zero point, so ONNX quantizes to uint8 and TensorRT to int8.",
            "Give it a zero point: 0 in int8.",
        )
        return
    dtype = quantized.dtype if quantized is not None else None
    dtype = ir.DataType(declared) if dtype is None and quantizes and declared else dtype
    dtype = zero.dtype if dtype is None and zero is not None else dtype
    if dtype not in (None, ir.DataType.INT8, ir.DataType.UINT8):
        yield Fault(
            "quantized-type",
            f"its quantized type is {dtype.name.lower()}.",
            "Quantize to int8; leave biases in float.",
        )


def _layout_faults(node: ir.Node) -> Iterator[Fault]:
    """Check that its scales are one, or one for each element of an axis."""
    block = node.attributes["block_size"].as_int() if "block_size" in node.attributes else 0
    if block:
        yield Fault(
            "block",
            f"it has a scale for each block of {block}.",
            "Quantize weights per output channel.",
        )
        return
    scale, zero, source = contents(node, 1), contents(node, 2), node.inputs[0]
    if scale is None:
        return
    if zero is not None and zero.size != scale.size:
        yield Fault(
            "zero-point",
            f"it has {zero.size} zero points and {scale.size} scales.",
            "Quantize the model again.",
        )
    if scale.size == 1 or source is None or source.shape is None:
        return
    rank = len(source.shape)
    axis = scale_axis(node)
    size = source.shape[axis] if -rank <= axis < rank else None
    if size is None or scale.ndim != 1 or (isinstance(size, int) and size != scale.size):
        yield Fault(
            "scale",
            f"its scales have shape {scale.shape}; axis {axis} of its input, {source.shape}, "
            "wants one for each element.",
            "Quantize the model again.",
        )


def _scale_type_faults(node: ir.Node) -> Iterator[Fault]:
    """Compare the scale's type with the float type around it."""
    scale = node.inputs[1] if len(node.inputs) > 1 else None
    real = node.inputs[0] if node.op_type == "QuantizeLinear" else node.outputs[0]
    if scale is None or scale.dtype is None or real is None:
        return
    if real.dtype in _FLOATS and scale.dtype in _FLOATS and real.dtype != scale.dtype:
        yield Fault(
            "quantizer-type",
            f"its scale is {_FLOATS[scale.dtype]}, its float side {_FLOATS[real.dtype]}.",
            f"Store the scale in {_FLOATS[real.dtype]}.",
        )
    elif scale.dtype == ir.DataType.FLOAT and _is_cast_to_half(node):
        yield Fault(
            "quantizer-type",
            "it is float32 in a float16 graph: a cast lies between it and the operator, which "
            "then may not run in int8.",
            "Quantize in float16, with opset 19 or later.",
            "warning",
        )


def _is_cast_to_half(node: ir.Node) -> bool:
    """Tell whether its float side is only a cast away from float16."""
    half = ir.DataType.FLOAT16
    if node.op_type == "QuantizeLinear":
        producer = node.inputs[0].producer() if node.inputs[0] is not None else None
        before = producer.inputs[0] if producer is not None and producer.op_type == "Cast" else None
        return before is not None and before.dtype == half
    users = [user for user, _ in node.outputs[0].uses()]
    return bool(users) and all(
        user.op_type == "Cast" and user.attributes["to"].as_int() == half for user in users
    )

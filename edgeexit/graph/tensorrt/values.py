"""What TensorRT cannot bind or hold: inputs, outputs and weights of a stage."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeexit.graph.tensorrt.rules import (
    INTEGER_PRODUCTS,
    MAX_RANK,
    QUANTIZERS,
    READABLE,
    Fault,
    rank_fault,
)

_MAX_ELEMENTS = 2**31 - 1
"""The largest volume of a tensor; TensorRT counts elements in 32 bits."""

_MAX_FILE = 2**31 - 1
"""The largest ONNX file in bytes; protobuf's limit, so more weights need a file of their own."""


def input_faults(value: ir.Value) -> Iterator[Fault]:
    """Check what a stage is given: its type, its axes, its rank."""
    yield from _boundary_faults(value, "input")
    dtype = value.dtype
    if dtype == ir.DataType.UINT8:
        others = sorted({user.op_type for user, _ in value.uses()} - {"Cast"})
        if others:
            yield Fault(
                "unsigned",
                f"it is a uint8 input that {others[0]} reads; TensorRT only casts such an input.",
                "Cast it to float before anything else, or carry int8.",
            )
    if value.shape is None:
        yield Fault("dynamic-axis", "its rank is unknown.", "Declare the input's shape.")
        return
    nameless = [
        axis for axis, dim in enumerate(value.shape) if not isinstance(dim, int) and not dim.value
    ]
    if nameless:
        yield Fault(
            "dynamic-axis",
            f"its axis {nameless[0]} is dynamic and has no name.",
            "Name dynamic axes, so that a profile can give their range.",
        )


def output_faults(value: ir.Value) -> Iterator[Fault]:
    """Check what a stage gives."""
    yield from _boundary_faults(value, "output")
    producer = value.producer()
    if value.dtype == ir.DataType.UINT8 and producer is not None and producer.op_type != "Cast":
        yield Fault(
            "unsigned",
            f"it is a uint8 output of {producer.op_type}.",
            "Repair the quantizer with signed_activations(), or cast the output.",
        )


def _boundary_faults(value: ir.Value, kind: str) -> Iterator[Fault]:
    dtype = value.dtype
    if dtype == ir.DataType.DOUBLE:
        yield Fault(
            "float64",
            f"it is a float64 {kind}; TensorRT binds it as float32.",
            "Export the model in float32.",
        )
    elif dtype == ir.DataType.INT64:
        yield Fault(
            "int64",
            f"it is an int64 {kind}; TensorRT 10 and later bind int64, twice the bytes of int32.",
            "Use int32 where the numbers fit.",
            "warning",
        )
    elif dtype is not None and dtype not in READABLE:
        yield _unreadable(dtype, f"its type is {_name(dtype)}")
    if value.shape is not None and len(value.shape) > MAX_RANK:
        yield rank_fault(len(value.shape))


def weight_faults(graph: ir.Graph) -> Iterator[tuple[str, Fault]]:
    """Check the initializers: type, rank and size of each, and of all that are in the file."""
    inline = 0
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            continue
        inline += 0 if isinstance(tensor, ir.ExternalTensor) else tensor.nbytes
        for fault in _weight_faults(value, tensor):
            yield name, fault
    if inline > _MAX_FILE:
        yield (
            str(graph.name or "graph"),
            Fault(
                "weights-size",
                f"{inline} bytes of weights are in the graph's file, which holds {_MAX_FILE}.",
                "Write them to a file of their own with externalize_weights().",
            ),
        )


def _weight_faults(value: ir.Value, tensor: ir.TensorProtocol) -> Iterator[Fault]:
    users = {user.op_type for user, _ in value.uses()}
    if tensor.dtype == ir.DataType.DOUBLE:
        yield Fault(
            "float64",
            "it is a float64 weight; TensorRT computes it in float32.",
            "Export the model in float32.",
            "warning",
        )
    elif tensor.dtype == ir.DataType.UINT8:
        if not users <= QUANTIZERS:
            yield Fault(
                "unsigned",
                "it is a uint8 constant; TensorRT holds it as int32.",
                "Store it as int32 or float.",
                "warning",
            )
    elif tensor.dtype not in READABLE:
        yield _unreadable(tensor.dtype, f"its type is {_name(tensor.dtype)}")
    others = users - QUANTIZERS - INTEGER_PRODUCTS
    if tensor.dtype == ir.DataType.INT8 and others:
        yield Fault(
            "int8-constant",
            f"{min(others)} reads an int8 constant; TensorRT reads one only in front "
            "of DequantizeLinear.",
            "Dequantize it first.",
        )
    if len(tensor.shape) > MAX_RANK:
        yield rank_fault(len(tensor.shape))
    if tensor.size > _MAX_ELEMENTS:
        yield Fault(
            "weights-size",
            f"it has {tensor.size} elements; TensorRT holds {_MAX_ELEMENTS} in one tensor.",
            "Split it.",
        )


def _unreadable(dtype: ir.DataType, words: str) -> Fault:
    remedy = "Keep text out of the graph." if dtype == ir.DataType.STRING else "Cast it to int32."
    return Fault("type", f"{words}, which TensorRT does not hold.", remedy)


def _name(dtype: ir.DataType) -> str:
    return dtype.name.lower()

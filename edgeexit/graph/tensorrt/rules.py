"""What TensorRT's parser refuses or misreads of one operator, quantizers aside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import onnx_ir as ir

from edgeexit.graph.lint import Severity
from edgeexit.graph.tensorrt.operators import Operators
from edgeexit.graph.tensorrt.restrictions import restrictions

MAX_RANK = 8
"""Axes of a tensor, ``nvinfer1::Dims::MAX_DIMS``."""

READABLE = frozenset(
    ir.DataType[name]
    for name in (
        *("FLOAT", "FLOAT16", "BFLOAT16", "INT32", "INT64", "INT8", "UINT8", "BOOL"),
        *("FLOAT8E4M3FN", "FLOAT4E2M1", "INT4"),
    )
)
"""Element types that TensorRT holds."""

QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""The operators between which int8 belongs."""

INTEGER_PRODUCTS = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})
"""Operators on quantized operands, which no version knows."""

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})

_MOVES = frozenset(
    {"Cast", "CastLike", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"}
    | {"Identity", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Tile", "Transpose"}
    | {"Unsqueeze"}
)
"""Operators that move elements and compute nothing, so int8 and int64 pass through them."""

_INDICES = frozenset({"ArgMax", "ArgMin", "OneHot", "ConstantOfShape", "Range", "EyeLike", "TopK"})

_TYPE_PORT = {"Where": 1, "OneHot": 2}
"""The input whose type counts, where it is not the first."""

_ALIKE = frozenset(
    {"Add", "And", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "Einsum", "Equal", "Gemm"}
    | {"Greater", "GreaterOrEqual", "GroupNormalization", "InstanceNormalization", "Less", "Or"}
    | {"LayerNormalization", "LessOrEqual", "MatMul", "Max", "Mean", "Min", "Mod", "Mul", "Sub"}
    | {"PRelu", "Sum", "Xor"}
)
"""Operators whose inputs are all of one type."""

_ALIKE_PORTS = {"Where": (1, 2), "Pad": (0, 2), "Pow": (0, 1)}
_MIXED_POWERS = (10, 8)
"""The first version that reads a power whose exponent is of another type than its base."""

_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)

_SHAPE_PORTS = {
    **dict.fromkeys(("CumSum", "Expand", "OneHot", "Reshape", "Split", "Squeeze"), (1,)),
    **dict.fromkeys(("Tile", "TopK", "Unsqueeze", "Upsample", *_REDUCTIONS), (1,)),
    "ConstantOfShape": (0,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "Slice": (1, 2, 3, 4),
}
"""Inputs that decide a shape or an axis: constants, or computed from shapes alone."""

_OF_DATA = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})


class Fault(NamedTuple):
    """One thing TensorRT would refuse or misread, before it is placed in a stage.

    Attributes:
        rule: The rule's name.
        message: What is wrong, with the value.
        remedy: What would mend it.
        severity: ``error`` or ``warning``.
    """

    rule: str
    message: str
    remedy: str
    severity: Severity = "error"


@dataclass(frozen=True)
class Surroundings:
    """What the rules of a node look up.

    Attributes:
        operators: What the version's parser reads.
        opset: The model's opset.
        settled: Values that are constant or computed from shapes alone.
    """

    operators: Operators
    opset: int
    settled: frozenset[ir.Value]


def survey(model: ir.Model, operators: Operators) -> Surroundings:
    """Return the surroundings of a model's nodes, from one pass in the order of the graph."""
    settled = {value for value in model.graph.initializers.values() if not value.is_graph_input()}
    for node in model.graph:
        given = [value for value in node.inputs if value is not None]
        if node.op_type in ("Constant", "Shape", "Size") or (given and settled.issuperset(given)):
            settled.update(node.outputs)
    imports = model.graph.opset_imports
    opset = imports.get("", imports.get("ai.onnx", 0))
    return Surroundings(operators=operators, opset=opset, settled=frozenset(settled))


def rank_fault(rank: int) -> Fault:
    """Return the fault of a tensor with too many axes."""
    return Fault(
        "rank",
        f"it has {rank} axes; TensorRT holds {MAX_RANK} at most.",
        "Join axes with Reshape.",
    )


def node_faults(node: ir.Node, surroundings: Surroundings) -> Iterator[Fault]:
    """Check one node by the rules that need no knowledge of quantization.

    Foreign operators and control flow are left to :func:`edgeexit.graph.lint.lint`.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type in _CONTROL_FLOW:
        return
    if node.op_type not in surroundings.operators.types:
        yield _unknown(node, surroundings.operators)
        return
    if node.op_type in _OF_DATA:
        yield Fault(
            "data-dependent",
            f"how many elements {node.op_type} returns depends on the data.",
            "Keep it out of the network, or write it with Where.",
        )
    yield from _shape_faults(node, surroundings)
    if node.op_type not in QUANTIZERS:
        yield from _unsigned_faults(node)
        yield from _type_faults(node, surroundings)
        yield from _mixed_faults(node, surroundings)
    for message, remedy in restrictions(node, surroundings.operators.version, surroundings.opset):
        yield Fault("restriction", message, remedy)
    for output in node.outputs:
        if output.shape is not None and len(output.shape) > MAX_RANK:
            yield rank_fault(len(output.shape))


def _unknown(node: ir.Node, operators: Operators) -> Fault:
    version = ".".join(map(str, operators.version))
    message = f"TensorRT {version} does not know the operator {node.op_type}."
    if node.op_type in INTEGER_PRODUCTS or node.op_type == "DynamicQuantizeLinear":
        return Fault(
            "operator", message, "Quantize with QuantizeLinear and DequantizeLinear, statically."
        )
    since = operators.later.get(node.op_type)
    if since is not None:
        needed = ".".join(map(str, since))
        return Fault(
            "operator",
            f"{message[:-1]}; {needed} does.",
            "Export with opset 20, which writes it in older operators, or update the device.",
        )
    return Fault("operator", message, "Write it with other operators, and export again.")


def _shape_faults(node: ir.Node, surroundings: Surroundings) -> Iterator[Fault]:
    """A shape, an axis or a count that is neither constant nor computed from shapes."""
    for port in _SHAPE_PORTS.get(node.op_type, ()):
        value = node.inputs[port] if port < len(node.inputs) else None
        if value is not None and value not in surroundings.settled:
            yield Fault(
                "data-dependent",
                f"its input {port}, {value.name!r}, depends on the data.",
                "Make it a constant, or compute it from shapes alone.",
            )
            return


def _type_faults(node: ir.Node, surroundings: Surroundings) -> Iterator[Fault]:
    """An element type that the operator does not compute in this version."""
    port = _TYPE_PORT.get(node.op_type, 0)
    value = node.inputs[port] if port < len(node.inputs) else None
    if value is None or value.dtype in (None, ir.DataType.UINT8) or value in surroundings.settled:
        return
    dtype, name = value.dtype, _numpy_name(value.dtype)
    version = ".".join(map(str, surroundings.operators.version))
    if dtype == ir.DataType.DOUBLE:
        yield Fault(
            "float64",
            f"it computes in float64; TensorRT {version} computes it in float32.",
            "Export the model in float32.",
            "warning",
        )
    elif dtype == ir.DataType.INT8:
        if node.op_type not in _MOVES:
            yield Fault(
                "type",
                f"it computes {node.op_type} on int8; TensorRT {version} documents int8 between "
                "quantizers only.",
                "Dequantize first.",
                "warning",
            )
    elif name not in surroundings.operators.types[node.op_type]:
        if name in surroundings.operators.undocumented.get(node.op_type, frozenset()):
            message = f"the documentation of TensorRT {version} names no {name} for {node.op_type}."
            yield Fault("type", message, _type_remedy(dtype), "warning")
        else:
            message = f"TensorRT {version} does not compute {node.op_type} in {name}."
            yield Fault("type", message, _type_remedy(dtype))
    elif dtype == ir.DataType.INT64 and node.op_type not in _MOVES | _INDICES:
        yield Fault(
            "int64",
            f"it computes {node.op_type} on int64 data.",
            "Use int32 where the numbers fit.",
            "warning",
        )


def _unsigned_faults(node: ir.Node) -> Iterator[Fault]:
    """Find uint8 inside the network; an output may be uint8, and an input a Cast reads."""
    for output in node.outputs:
        if output.dtype == ir.DataType.UINT8 and output.uses():
            reader = next(iter(output.uses())).node.op_type
            yield Fault(
                "unsigned",
                f"it makes uint8 for {reader}; TensorRT holds uint8 in inputs and outputs only.",
                "Use int32 or float.",
            )


def _mixed_faults(node: ir.Node, surroundings: Surroundings) -> Iterator[Fault]:
    """Inputs of several types: a strongly typed network casts nothing by itself."""
    if node.op_type == "Pow" and surroundings.operators.version >= _MIXED_POWERS:
        return
    if node.op_type in _ALIKE:
        values = list(node.inputs)
    else:
        ports = _ALIKE_PORTS.get(node.op_type, ())
        values = [node.inputs[port] for port in ports if port < len(node.inputs)]
    names = [_numpy_name(v.dtype) for v in values if v is not None and v.dtype is not None]
    kinds = list(dict.fromkeys(names))
    if len(kinds) > 1:
        yield Fault(
            "mixed-types",
            f"its inputs are {' and '.join(kinds)}.",
            f"Cast them to {kinds[0]}.",
        )


def _type_remedy(dtype: ir.DataType) -> str:
    if dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        return "Keep this node in float32."
    return "Cast to float before it."


def _numpy_name(dtype: ir.DataType) -> str:
    names = {ir.DataType.FLOAT: "float32", ir.DataType.DOUBLE: "float64"}
    return names.get(dtype, dtype.name.lower())

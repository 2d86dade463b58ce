"""One graph for an operator and an element type, to ask a parser whether it reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

SHAPE = (1, 4, 6, 6)
TYPES = {"float32": 1, "float16": 10, "bfloat16": 16, "int32": 6, "int64": 7, "bool": 9}


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_X = ("x",)
_XX = ("x", "x")
_ONE_INPUT = _names(
    "Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh Ceil Celu Cos Cosh Dropout Elu Erf "
    "Exp Flatten Floor Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid "
    "HardSwish Hardmax Identity IsInf IsNaN LeakyRelu Log LogSoftmax LpNormalization Mish Neg "
    "NonZero Not Reciprocal Relu Round Selu Shape Shrink Sigmoid Sign Sin Sinh Size Softmax "
    "Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Transpose Trilu"
)
_TWO_INPUTS = _names(
    "Add And Div Equal Greater GreaterOrEqual LayerNormalization Less LessOrEqual MatMul Max "
    "Mean Min Mod Mul Or PRelu Pow Sub Sum Xor"
)
_REDUCTIONS = _names(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare"
)
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "AveragePool": {"kernel_shape": [2, 2]},
    "Cast": {"to": 1},
    "Concat": {"axis": 0},
    "DepthToSpace": {"blocksize": 2},
    "Einsum": {"equation": "abcd,abde->abce"},
    "LpPool": {"kernel_shape": [2, 2]},
    "MaxPool": {"kernel_shape": [2, 2]},
    "SpaceToDepth": {"blocksize": 2},
    "Split": {"num_outputs": 2, "axis": 1},
}
_CONSTANTS: dict[str, tuple[np.ndarray, ...]] = {
    "CumSum": (np.array(1),),
    "Expand": (np.array([2, 4, 6, 6]),),
    "Gather": (np.array([0]),),
    "GatherElements": (np.zeros(SHAPE, np.int64),),
    "Pad": (np.zeros(8, np.int64),),
    "Reshape": (np.array([4, -1]),),
    "Slice": (np.array([0]), np.array([1]), np.array([1])),
    "Squeeze": (np.array([0]),),
    "Tile": (np.array([2, 1, 1, 1]),),
    "TopK": (np.array([2]),),
    "Unsqueeze": (np.array([0]),),
} | dict.fromkeys(_REDUCTIONS, (np.array([1]),))
_INPUTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*_ONE_INPUT, *_ATTRIBUTES), _X),
    **dict.fromkeys((*_TWO_INPUTS, "Concat", "Einsum", "Gemm"), _XX),
    **{name: ("x", *(f"c{n}" for n in range(len(c)))) for name, c in _CONSTANTS.items()},
    "Clip": ("x", "low"),
    "Where": ("c0", "x", "x"),
}
_CONSTANTS["Where"] = (np.ones(SHAPE, np.bool_),)

OPERATORS = tuple(sorted(_INPUTS))
"""The operators of which a graph can be made."""


def operator_graph(operator: str, dtype: str) -> onnx.ModelProto:
    """Return a graph of one node that computes in a type of :data:`TYPES`."""
    number = TYPES[dtype]
    attributes = dict(_ATTRIBUTES.get(operator, {}))
    if operator == "Mod" and "float" in dtype:
        attributes["fmod"] = 1
    names = _INPUTS[operator]
    outputs = ["y", "z"] if operator in ("Split", "TopK") else ["y"]
    inputs = [helper.make_tensor_value_info("x", number, (4, 4) if operator == "Gemm" else SHAPE)]
    if "low" in names:
        inputs.append(helper.make_tensor_value_info("low", number, ()))
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs, **attributes)],
        "g",
        inputs,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(a, f"c{n}") for n, a in enumerate(_CONSTANTS.get(operator, ()))],
    )
    opset = helper.make_opsetid("", 24 if operator == "Swish" else 20)
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[opset], ir_version=10)
    )
    for output in model.graph.output:
        if not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = number
    return model

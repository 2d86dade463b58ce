"""Small graphs, each with one construct that TensorRT refuses or misreads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

F = np.float32
H = np.float16
PAIR = {
    "s": F(0.1),
    "z": np.int8(0),
    "w": np.ones((8, 4), np.int8),
    "ws": np.full(4, 0.5, F),
    "wz": np.zeros(4, np.int8),
}
PRODUCT = """q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    e = DequantizeLinear<axis=1>(w, ws, wz)
    y = MatMul(d, e)"""
COUNT = """m = ReduceMax<keepdims=0>(x)
    t = Cast<to=7>(m)
    k = Reshape(t, one)"""
ONE = {"one": np.array([1])}


@dataclass(frozen=True)
class Case:
    """One graph.

    Attributes:
        name: The construct.
        rule: The rule that names it.
        body: The nodes, in ONNX's text form.
        weights: The initializers.
        words: Part of the finding's message.
        also: Rules that find a consequence of it.
    """

    name: str
    rule: str
    body: str
    words: str
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: str = "float[2,8] x"
    output: str = "float[2,8] y"
    opset: int = 20
    domains: tuple[str, ...] = ()
    also: frozenset[str] = frozenset()

    def proto(self) -> onnx.ModelProto:
        imports = "".join(f', "{domain}" : 1' for domain in self.domains)
        head = f'<ir_version: 10, opset_import: ["" : {self.opset}{imports}]>'
        text = f"{head} g ({self.inputs}) => ({self.output}) {{ {self.body} }}"
        model = onnx.parser.parse_model(text)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(array), name) for name, array in self.weights.items()
        )
        return model


def pair(name: str, rule: str, words: str, body: str = PRODUCT, **change: np.ndarray) -> Case:
    """Return the quantized product with something changed."""
    return Case(name, rule, body, words, PAIR | change, output="float[2,4] y")


def half(name: str, words: str, line: str, **weights: np.ndarray) -> Case:
    """Return a graph whose ``line`` makes ``r`` from float32 ``x`` and float16 ``h``."""
    body = f"h = Cast<to=10>(x) {line} y = Cast<to=1>(r)"
    return Case(name, "mixed-types", body, words, weights)


def typed(name: str, to: int, line: str, words: str, inputs: str = "float[8,8] x") -> Case:
    """Return a graph that casts ``x`` to a type as ``h`` and computes ``r`` from it."""
    shape = inputs.split(" ")[0]
    body = f"h = Cast<to={to}>(x) {line} y = Cast<to=1>(r)"
    return Case(name, "type", body, words, inputs=inputs, output=f"{shape} y")


SQUARE = {"inputs": "float[8,8] x", "output": "float[8,8] y"}
IMAGE = {"inputs": "float[1,4,8,8] x", "output": "float[1,4,n,m] y"}
INT8 = {"s": F(0.1), "z": np.int8(0), "w": np.ones((8, 8), np.int8)}
SQUARE_WEIGHT = np.ones((8, 8), np.int8)

REFUSED = [
    # zero points, scales, quantized types
    pair("zero point", "zero-point", "zero point is 3", z=np.int8(3)),
    pair("one zero point", "zero-point", "zero point is", wz=np.array([0, 1, 0, 0], np.int8)),
    pair("too many zero points", "zero-point", "5 zero points and 4", wz=np.zeros(5, np.int8)),
    pair("uint8 weights", "unsigned", "uint8", w=np.ones((8, 4), np.uint8), wz=np.zeros(4, "u1")),
    pair("scale 0", "scale", "not a positive constant", s=F(0)),
    pair("negative scale", "scale", "not a positive constant", s=F(-1)),
    pair("scale not a number", "scale", "not a positive constant", s=F("nan")),
    pair("too many scales", "scale", "(5,)", ws=np.ones(5, F), wz=np.zeros(5, np.int8)),
    pair("scales of two axes", "scale", "(1, 4)", ws=np.ones((1, 4), F), wz=np.zeros((1, 4), "i1")),
    pair("axis out of range", "scale", "axis 7", PRODUCT.replace("axis=1", "axis=7")),
    Case(
        "zero point computed",
        "zero-point",
        "c = Cast<to=3>(f) q = QuantizeLinear(x, s, c) y = DequantizeLinear(q, s, c)",
        "'c', is computed",
        {"s": F(0.1)},
        inputs="float[2,8] x, float f",
    ),
    Case(
        "bias quantized to int32",
        "quantized-type",
        "d = DequantizeLinear(w, s) y = Add(x, d)",
        "int32",
        {"w": np.ones(8, np.int32), "s": F(0.1)},
    ),
    Case(
        "uint8 input dequantized",
        "unsigned",
        "y = DequantizeLinear(x, s, z)",
        "uint8",
        {"s": F(0.1), "z": np.uint8(0)},
        inputs="uint8[2,8] x",
    ),
    Case(
        "uint8 input transposed",
        "unsigned",
        "r = Transpose(x) y = Cast<to=1>(r)",
        "uint8 input that Transpose reads",
        inputs="uint8[2,8] x",
        output="float[8,2] y",
    ),
    Case("uint8 inside", "unsigned", "u = Cast<to=2>(x) y = Cast<to=1>(u)", "makes uint8 for Cast"),
    Case(
        "int8 constant reshaped",
        "int8-constant",
        "r = Reshape(w, t) d = DequantizeLinear(r, s, z) y = Add(x, d)",
        "Reshape reads an int8 constant",
        {"w": np.ones(16, np.int8), "t": np.array([2, 8]), "s": F(0.1), "z": np.int8(0)},
    ),
    # operators
    Case(
        "QLinearMatMul",
        "operator",
        "q = QuantizeLinear(x, s, z) r = QLinearMatMul(q, s, z, w, s, z, s, z) "
        "y = DequantizeLinear(r, s, z)",
        "does not know the operator QLinearMatMul",
        INT8,
        **SQUARE,
    ),
    Case(
        "QLinearConv",
        "operator",
        "q = QuantizeLinear(x, s, z) r = QLinearConv(q, s, z, w, s, z, s, z) "
        "y = DequantizeLinear(r, s, z)",
        "does not know the operator QLinearConv",
        INT8 | {"w": np.ones((4, 4, 3, 3), np.int8)},
        **IMAGE,
    ),
    Case(
        "MatMulInteger",
        "operator",
        "q = QuantizeLinear(x, s, z) r = MatMulInteger(q, w) y = Cast<to=1>(r)",
        "does not know the operator MatMulInteger",
        INT8,
        **SQUARE,
    ),
    Case(
        "ConvInteger",
        "operator",
        "q = QuantizeLinear(x, s, z) r = ConvInteger(q, w) y = Cast<to=1>(r)",
        "does not know the operator ConvInteger",
        INT8 | {"w": np.ones((4, 4, 3, 3), np.int8)},
        **IMAGE,
    ),
    Case("Det", "operator", "d = Det(x) y = Add(x, d)", "operator Det", **SQUARE),
    Case("Unique", "operator", "y = Unique(x)", "operator Unique", output="float[n] y"),
    Case(
        "a custom operator",
        "domain",
        "y = com.vendor.Fused(x)",
        "com.vendor.Fused",
        domains=("com.vendor",),
    ),
    # types
    Case("string", "type", "y = Identity(x)", "string", inputs="string[2] x", output="string[2] y"),
    Case("int16", "type", "f = Cast<to=1>(x) y = Neg(f)", "int16", inputs="int16[2,8] x"),
    Case("int16 weight", "type", "c = Cast<to=1>(k) y = Add(x, c)", "int16", {"k": np.int16(1)}),
    typed("Exp of int32", 6, "r = Exp(h)", "does not compute Exp in int32"),
    typed("MatMul of int32", 6, "r = MatMul(h, h)", "does not compute MatMul in int32"),
    typed("Softmax of int64", 7, "r = Softmax(h)", "does not compute Softmax in int64"),
    typed("Add of bool", 9, "r = Add(h, h)", "does not compute Add in bool"),
    typed("Celu of float16", 10, "r = Celu(h)", "does not compute Celu in float16"),
    typed("Relu of int32", 6, "r = Relu(h)", "does not compute Relu in int32"),
    half("Add of two types", "float32 and float16", "r = Add(x, h)"),
    half("Mul by a constant of another type", "float16 and float32", "r = Mul(h, k)", k=F(2)),
    half("MatMul of two types", "float16 and float32", "r = MatMul(h, k)", k=np.ones((8, 8), F)),
    half(
        "Where of two types", "float16 and float32", "c = Greater(x, k) r = Where(c, h, x)", k=F(0)
    ),
    half("Concat of two types", "float16 and float32", "r = Concat<axis=0>(h, x)"),
    half("PRelu of two types", "float16 and float32", "r = PRelu(h, k)", k=np.ones(8, F)),
    half(
        "LayerNormalization", "float16 and float32", "r = LayerNormalization(h, k)", k=np.ones(8, F)
    ),
    Case(
        "Add of int32 and int64",
        "mixed-types",
        "y = Add(x, k)",
        "int32 and int64",
        {"k": np.array([1, 2])},
        inputs="int32[2] x",
        output="int32[2] y",
    ),
    # ranks
    Case(
        "an input of 9 axes",
        "rank",
        "y = Reshape(x, t)",
        "9 axes",
        {"t": np.array([2, 8])},
        inputs="float[1,1,1,1,1,1,1,2,8] x",
    ),
    Case(
        "9 axes inside",
        "rank",
        "r = Reshape(x, t) n = Neg(r) y = Reshape(n, u)",
        "9 axes",
        {"t": np.array([1] * 7 + [2, 8]), "u": np.array([2, 8])},
    ),
    # forms of known operators
    Case(
        "LayerNormalization with three outputs",
        "restriction",
        "y, mean, dev = LayerNormalization(x, k)",
        "further output, 'mean'",
        {"k": np.ones(8, F)},
    ),
    Case(
        "MaxPool with indices",
        "restriction",
        "y, i = MaxPool<kernel_shape=[2,2]>(x)",
        "further output, 'i'",
        **IMAGE,
    ),
    Case(
        "dilated pooling",
        "restriction",
        "y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)",
        "dilations are [2, 2]",
        **IMAGE,
    ),
    Case(
        "a convolution of four axes",
        "restriction",
        "y = Conv(x, w)",
        "convolves 4 axes",
        {"w": np.ones((4, 4, 3, 3, 3, 3), F)},
        inputs="float[1,4,4,4,4,4] x",
        output="float[1,4,2,2,2,2] y",
    ),
    Case(
        "BatchNormalization in training",
        "restriction",
        "y, a, b = BatchNormalization<training_mode=1>(x, k, k, k, k)",
        "training_mode is 1",
        {"k": np.ones(8, F)},
    ),
    Case(
        "Dropout in training",
        "restriction",
        "y = Dropout(x, r, t)",
        "training mode",
        {"r": F(0.5), "t": np.bool_(True)},
    ),
    Case(
        "ScatterND that adds",
        "restriction",
        'y = ScatterND<reduction="add">(x, i, u)',
        "reduction is 'add'",
        {"i": np.array([[0]]), "u": np.ones((1, 8), F)},
    ),
    Case(
        "Resize with antialiasing",
        "restriction",
        'y = Resize<mode="linear", antialias=1>(x, , k)',
        "antialias is 1",
        {"k": np.array([1, 1, 2, 2], F)},
        **IMAGE,
    ),
    Case(
        "Resize that crops",
        "restriction",
        'y = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(x, r, k)',
        "tf_crop_and_resize",
        {"k": np.array([1, 1, 2, 2], F), "r": np.array([0] * 4 + [1] * 4, F)},
        **IMAGE,
    ),
    Case(
        "Slice of unnamed axes",
        "restriction",
        "y = Slice(x, a, b)",
        "1 starts for 2 axes",
        {"a": np.array([0]), "b": np.array([1])},
        output="float[1,8] y",
    ),
    Case(
        "TopK of too many",
        "restriction",
        "y, i = TopK(x, k)",
        "K is 4000",
        {"k": np.array([4000])},
        inputs="float[2,5000] x",
        output="float[2,4000] y",
    ),
    Case(
        "a constant text",
        "restriction",
        'c = Constant<value_string="a">() y = Neg(x)',
        "value_string",
    ),
    # shapes that depend on the data
    Case("NonZero", "data-dependent", "y = NonZero(x)", "NonZero", output="int64[2,n] y"),
    Case(
        "NonMaxSuppression",
        "data-dependent",
        "y = NonMaxSuppression(x, p, k)",
        "NonMaxSuppression",
        {"k": np.array([3])},
        inputs="float[1,6,4] x, float[1,1,6] p",
        output="int64[n,3] y",
    ),
    Case(
        "Reshape to what the data say",
        "data-dependent",
        f"{COUNT} c = Concat<axis=0>(k, j) y = Reshape(x, c)",
        "input 1, 'c', depends on the data",
        ONE | {"j": np.array([-1])},
        output="float[n,m] y",
    ),
    Case(
        "Reshape to an unknown rank",
        "data-dependent",
        "y = Reshape(x, t)",
        "input 1, 't', depends",
        inputs="float[2,8] x, int64[k] t",
        output="float[n,m] y",
    ),
    Case(
        "TopK with K from the data",
        "data-dependent",
        f"{COUNT} y, i = TopK(x, k)",
        "input 1, 'k'",
        ONE,
        output="float[2,n] y",
    ),
    Case(
        "Expand to what the data say",
        "data-dependent",
        f"{COUNT} y = Expand(c, k)",
        "input 1, 'k'",
        ONE | {"c": np.ones(1, F)},
        output="float[n] y",
    ),
    Case(
        "Range to what the data say",
        "data-dependent",
        f"{COUNT} y = Range(a, t, b)",
        "input 1, 't'",
        ONE | {"a": np.int64(0), "b": np.int64(1)},
        output="int64[n] y",
    ),
    Case(
        "ConstantOfShape of the data",
        "data-dependent",
        f"{COUNT} y = ConstantOfShape(k)",
        "input 0, 'k'",
        ONE,
        output="float[n] y",
    ),
    Case(
        "axes that are an input",
        "data-dependent",
        "y = ReduceSum(x, a)",
        "input 1, 'a'",
        inputs="float[2,8] x, int64[1] a",
        output="float[n,m] y",
    ),
]
"""What the parser or the builder refuses."""

MISREAD = [
    pair("uint8 activations", "unsigned", "quantizes to uint8", z=np.uint8(0)),
    Case(
        "no zero point, so uint8",
        "unsigned",
        "q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)",
        "quantizes to uint8",
        {"s": F(0.1)},
    ),
    pair("infinite scale", "scale", "not a positive constant", s=F("inf")),
    Case(
        "a scale that is an input",
        "scale",
        "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
        "not a positive constant",
        {"z": np.int8(0)},
        inputs="float[2,8] x, float s",
    ),
    pair(
        "scales per channel of activations",
        "activation-axis",
        "an activation has 8 scales",
        s=np.ones(8, F),
        z=np.zeros(8, np.int8),
    ),
    pair(
        "MatMul weights scaled along the inputs",
        "weight-axis",
        "scaled along axis 0",
        PRODUCT.replace("axis=1", "axis=0"),
        ws=np.ones(8, F),
        wz=np.zeros(8, np.int8),
    ),
    pair(
        "Gemm weights scaled along the inputs",
        "weight-axis",
        "scaled along axis 1",
        PRODUCT.replace("MatMul", "Gemm<transB=1>"),
        w=np.ones((4, 8), np.int8),
        ws=np.ones(8, F),
        wz=np.zeros(8, np.int8),
    ),
    Case(
        "Conv weights scaled along the inputs",
        "weight-axis",
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) "
        "e = DequantizeLinear<axis=1>(w, ws, wz) y = Conv(d, e)",
        "scaled along axis 1",
        PAIR | {"w": np.ones((4, 4, 3, 3), np.int8)},
        **IMAGE,
    ),
    Case(
        "scales per block",
        "block",
        "e = DequantizeLinear<axis=0, block_size=4>(w, ws, wz) y = MatMul(x, e)",
        "each block of 4",
        {"w": SQUARE_WEIGHT, "ws": np.ones((2, 8), F), "wz": np.zeros((2, 8), np.int8)},
        opset=21,
    ),
    Case(
        "a float16 scale for float32",
        "quantizer-type",
        "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, t, z)",
        "scale is float16, its float side float32",
        {"s": H(0.1), "t": F(0.1), "z": np.int8(0)},
    ),
    Case(
        "a float32 scale for float16",
        "quantizer-type",
        "h = Cast<to=10>(x) q = QuantizeLinear(h, s, z) d = DequantizeLinear(q, s, z) y = Neg(d)",
        "scale is float32, its float side float16",
        {"s": F(0.1), "z": np.int8(0)},
    ),
    Case(
        "float16 scales before opset 19",
        "opset",
        "h = Cast<to=10>(x) q = QuantizeLinear(h, s, z) d = DequantizeLinear(q, s, z) "
        "y = Cast<to=1>(d)",
        "need opset 19; the model uses 18",
        {"s": H(0.1), "z": np.int8(0)},
        opset=18,
        also=frozenset({"quantizer-type"}),
    ),
    Case(
        "a float64 input",
        "float64",
        "y = Cast<to=1>(x)",
        "TensorRT binds it as float32",
        inputs="double[2,8] x",
    ),
    Case(
        "a foreign operator with a known name",
        "domain",
        "y = com.vendor.Neg(x)",
        "com.vendor.Neg",
        domains=("com.vendor",),
    ),
    Case(
        "If",
        "control-flow",
        "t = ReduceMax<keepdims=0>(x) c = Cast<to=9>(t) y = If (c) <"
        "then_branch = a () => (float[2,8] u) { u = Neg(x) }, "
        "else_branch = b () => (float[2,8] v) { v = Abs(x) }>",
        "If decides by data",
    ),
    Case("an old opset", "opset", "y = Neg(x)", "uses opset 8", opset=8),
    Case("a nameless axis", "dynamic-axis", "y = Neg(x)", "axis 0", inputs="float[?,8] x"),
    half("Clip with bounds of another type", "float16 and float32", "r = Clip(h, k)", k=F(0)),
]
"""What TensorRT-RTX builds, and computes otherwise or not as one exit after the other."""

WARNED = [
    Case(
        "int64 input",
        "int64",
        "y = Gather<axis=0>(k, x)",
        "int64 input",
        {"k": np.eye(8, dtype=F)},
        inputs="int64[2] x",
    ),
    Case("int64 data", "int64", "i = Cast<to=7>(x) j = Abs(i) y = Cast<to=1>(j)", "Abs on int64"),
    Case("float64 inside", "float64", "d = Cast<to=11>(x) e = Neg(d) y = Cast<to=1>(e)", "float64"),
    Case(
        "float64 weight",
        "float64",
        "d = Cast<to=1>(k) y = Add(x, d)",
        "weight",
        {"k": np.float64(2)},
    ),
    Case(
        "uint8 constant",
        "unsigned",
        "d = Cast<to=1>(k) y = Add(x, d)",
        "constant",
        {"k": np.uint8([2])},
    ),
    Case("a later opset", "opset", "y = Neg(x)", "ends at 24", opset=25),
    Case(
        "int8 arithmetic",
        "type",
        "i = Cast<to=3>(x) j = Add(i, i) y = Cast<to=1>(j)",
        "Add on int8",
    ),
    Case(
        "Clip of int32",
        "type",
        "i = Cast<to=6>(x) j = Clip(i) y = Cast<to=1>(j)",
        "names no int32 for Clip",
    ),
    Case(
        "float32 pairs among float16",
        "quantizer-type",
        "h = Cast<to=10>(x) f = Cast<to=1>(h) q = QuantizeLinear(f, s, z) "
        "d = DequantizeLinear(q, s, z) g = Cast<to=10>(d) e = Cast<to=1>(g) y = Neg(e)",
        "float32 in a float16 graph",
        {"s": F(0.1), "z": np.int8(0)},
    ),
]
"""What is worth a word; TensorRT-RTX builds it, and it computes what it should."""

CLEAN = [
    Case(
        "shapes of shapes",
        "",
        "s = Shape(x) a = Gather<axis=0>(s, i) c = Concat<axis=0>(a, j) y = Reshape(x, c)",
        "",
        {"i": np.array([0]), "j": np.array([8])},
    ),
    Case("a uint8 image", "", "f = Cast<to=1>(x) y = Neg(f)", "", inputs="uint8[2,8] x"),
    Case(
        "int8 moved between quantizers",
        "",
        "q = QuantizeLinear(x, s, z) t = Transpose(q) y = DequantizeLinear(t, s, z)",
        "",
        INT8,
        **SQUARE,
    ),
    Case(
        "a float16 pair",
        "",
        "h = Cast<to=10>(x) q = QuantizeLinear(h, s, z) "
        "d = DequantizeLinear(q, s, z) y = Cast<to=1>(d)",
        "",
        {"s": np.float16(0.1), "z": np.int8(0)},
    ),
    Case("int64 indices", "", "y, i = TopK(x, k)", "", {"k": np.array([4])}, output="float[2,4] y"),
    Case(
        "an axis of 8",
        "",
        "y = Neg(x)",
        "",
        inputs="float[1,1,1,1,1,1,2,8] x",
        output="float[1,1,1,1,1,1,2,8] y",
    ),
    Case("Dropout at rest", "", "y = Dropout(x)", ""),
    Case(
        "a power of two types",
        "",
        "h = Cast<to=10>(x) p = Pow(h, k) y = Cast<to=1>(p)",
        "",
        {"k": F(2)},
    ),
    Case("a Boolean mask", "", "b = Greater(x, k) c = Not(b) y = Where(c, x, k)", "", {"k": F(0)}),
    Case(
        "weights by the last axis",
        "",
        "e = DequantizeLinear<axis=-1>(w, t, u) d = QuantizeLinear(x, s, z) "
        "f = DequantizeLinear(d, s, z) y = MatMul(f, e)",
        "",
        INT8 | {"t": np.ones(8, F), "u": np.zeros(8, np.int8)},
        **SQUARE,
    ),
]
"""What the lint must not find."""

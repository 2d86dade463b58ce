"""What TensorRT-RTX builds and computes as it should: worth a word, or none."""

from __future__ import annotations

import numpy as np

from tests.graph.tensorrt.cases.case import INT8, SQUARE, Case, F

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

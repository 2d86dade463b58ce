"""Operators, types and ranks that the parser or the builder refuses."""

from __future__ import annotations

import numpy as np

from tests.graph.tensorrt.cases.case import IMAGE, INT8, SQUARE, Case, F, half, typed

UNKNOWN_OPERATORS = [
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
]
"""Operators that the parser does not know."""

REFUSED_TYPES = [
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
]
"""Types that an operator does not compute, and types that do not mix."""

REFUSED_RANKS = [
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
]
"""More axes than a tensor may have."""

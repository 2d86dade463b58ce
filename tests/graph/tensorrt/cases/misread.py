"""What TensorRT-RTX builds, and computes otherwise than the graph says."""

from __future__ import annotations

import numpy as np

from tests.graph.tensorrt.cases.case import IMAGE, PAIR, PRODUCT, Case, F, H, half, pair

SQUARE_WEIGHT = np.ones((8, 8), np.int8)

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

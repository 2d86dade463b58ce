"""Zero points, scales and quantized types that the parser or the builder refuses."""

from __future__ import annotations

import numpy as np

from tests.graph.tensorrt.cases.case import PRODUCT, Case, F, pair

QUANTIZATION = [
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
]
"""Constructs of Q/DQ pairs."""

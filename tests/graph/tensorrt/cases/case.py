"""One small graph with one construct, and what the graphs of a subject share."""

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
SQUARE = {"inputs": "float[8,8] x", "output": "float[8,8] y"}
IMAGE = {"inputs": "float[1,4,8,8] x", "output": "float[1,4,n,m] y"}
INT8 = {"s": F(0.1), "z": np.int8(0), "w": np.ones((8, 8), np.int8)}


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

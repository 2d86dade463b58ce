"""A small three-stage transformer as ONNX: whole, and cut into its stages.

Stage 1 embeds ``x`` and carries ``h1``, the gate's ``state`` and, in windows of four tokens,
``w1`` (two rows a sample). Stage 2 reads ``h1`` and the int64 input ``ids``, and carries ``h2``,
whose batch lies on axis 1. Stage 3 reads all that was carried. Each ends in logits. A carried
tensor first meets a normalisation or a layer's sum, not an elementwise chain: engines fuse such a
chain over the boundary and keep more digits inside it, so in bf16 the cut would show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexit.bundle.specs import TensorSpec

TOKENS, WIDTH, CLASSES, WORDS = 8, 32, 10, 16
ELEMENT = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}

SPECS = {
    spec.name: spec
    for spec in (
        TensorSpec("x", "float32", ("batch", TOKENS, WIDTH)),
        TensorSpec("ids", "int64", ("batch", TOKENS)),
        TensorSpec("params", "float32", (1,), None, 0),
        TensorSpec("h1", "float32", ("batch", TOKENS, WIDTH)),
        TensorSpec("w1", "float32", ("2*batch", TOKENS // 2, WIDTH), 0, 2),
        TensorSpec("state", "float32", ("batch",)),
        TensorSpec("h2", "float32", (TOKENS, "batch", WIDTH), 1),
        TensorSpec("logits1", "float32", ("batch", CLASSES)),
        TensorSpec("score1", "float32", ("batch",)),
        TensorSpec("logits2", "float32", ("batch", CLASSES)),
        TensorSpec("logits3", "float32", ("batch", CLASSES)),
    )
}
CARRIED = frozenset({"h1", "w1", "h2"})
"""Tensors that may cross a stage's edge in the engine's own type; ``state`` never may."""


@dataclass(frozen=True)
class Graph:
    """An ONNX file and the tensors at its edge."""

    file: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class _Part:
    """Nodes and weights under construction; weights are drawn in a fixed order."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.random = np.random.default_rng(number)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, value: np.ndarray[Any, Any]) -> str:
        name = f"weight{self.number}_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def matrix(self, rows: int, columns: int) -> str:
        values = self.random.standard_normal((rows, columns)) / np.sqrt(rows)
        return self.weight(values.astype(np.float32))

    def ints(self, *values: int) -> str:
        return self.weight(np.array(values, np.int64))

    def add(self, op: str, inputs: Sequence[str], out: str = "", **attributes: Any) -> str:
        out = out or f"tensor{self.number}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def normalised(self, x: str) -> str:
        ones = self.weight(np.ones(WIDTH, np.float32))
        zeros = self.weight(np.zeros(WIDTH, np.float32))
        return self.add("LayerNormalization", (x, ones, zeros), axis=-1)

    def block(self, x: str, out: str = "") -> str:
        """Return a transformer block of ``x``: one attention head, then a two-layer network."""
        y = self.normalised(x)
        q, k, v = (self.add("MatMul", (y, self.matrix(WIDTH, WIDTH))) for _ in range(3))
        logits = self.add("MatMul", (q, self.add("Transpose", (k,), perm=[0, 2, 1])))
        mixed = self.add("MatMul", (self.add("Softmax", (logits,), axis=-1), v))
        # Without this projection OpenVINO 2026.4 crashes while compiling the block.
        mixed = self.add("MatMul", (mixed, self.matrix(WIDTH, WIDTH)))
        x = self.add("Add", (x, mixed))
        hidden = self.add("MatMul", (self.normalised(x), self.matrix(WIDTH, 2 * WIDTH)))
        hidden = self.add("Relu", (hidden,))
        return self.add(
            "Add", (x, self.add("MatMul", (hidden, self.matrix(2 * WIDTH, WIDTH)))), out
        )

    def head(self, x: str, out: str = "") -> str:
        mean = self.add("ReduceMean", (self.normalised(x), self.ints(1)), keepdims=0)
        return self.add("MatMul", (mean, self.matrix(WIDTH, CLASSES)), out)

    def reshaped(self, x: str, tokens: int, out: str = "") -> str:
        return self.add("Reshape", (x, self.ints(-1, tokens, WIDTH)), out)


def _first() -> _Part:
    part = _Part(1)
    part.block("x", "h1")
    part.head("h1", "logits1")
    scaled = part.add("Mul", ("logits1", "params"))
    chances = part.add("Softmax", (scaled,), axis=-1)
    part.add("ReduceMax", (chances, part.ints(1)), "score1", keepdims=0)
    part.add("Sub", (part.weight(np.ones(1, np.float32)), "score1"), "state")
    part.reshaped("h1", TOKENS // 2, "w1")
    return part


def _second() -> _Part:
    part = _Part(2)
    words = part.add("Gather", (part.matrix(WORDS, WIDTH), "ids"))
    h = part.block(part.add("Add", (part.block("h1"), words)))
    part.add("Transpose", (h,), "h2", perm=[1, 0, 2])
    part.head(h, "logits2")
    return part


def _third() -> _Part:
    part = _Part(3)
    h2 = part.add("Transpose", ("h2",), perm=[1, 0, 2])
    h = part.add("Add", (part.block(h2), part.reshaped("w1", TOKENS)))
    h = part.add("Add", (part.block(h), "h1"))
    logits = part.head(h)
    column = part.add("Unsqueeze", ("state", part.ints(1)))
    part.add("Add", (logits, column), "logits3")
    return part


STAGES = (
    (("x", "params"), ("h1", "w1", "state", "logits1", "score1")),
    (("h1", "ids"), ("h2", "logits2")),
    (("h1", "w1", "h2", "state"), ("logits3",)),
)
WHOLE = (("x", "ids", "params"), ("logits1", "score1", "logits2", "logits3"))


def _save(parts: Sequence[_Part], edge: tuple[Sequence[str], Sequence[str]], file: Path) -> Graph:
    inputs, outputs = (tuple(SPECS[name] for name in names) for names in edge)
    infos = [
        [helper.make_tensor_value_info(s.name, ELEMENT[s.dtype], s.shape) for s in specs]
        for specs in (inputs, outputs)
    ]
    nodes = [node for part in parts for node in part.nodes]
    weights = [weight for part in parts for weight in part.weights]
    graph = helper.make_graph(nodes, file.stem, *infos, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
    return Graph(file, inputs, outputs)


def save_stages(folder: Path) -> tuple[Graph, tuple[Graph, ...]]:
    """Write the whole graph and its three stages into ``folder``."""
    parts = (_first(), _second(), _third())
    stages = tuple(
        _save([part], edge, folder / f"stage{number}.onnx")
        for number, (part, edge) in enumerate(zip(parts, STAGES, strict=True), 1)
    )
    return _save(parts, WHOLE, folder / "whole.onnx"), stages


def sample(batch: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return model inputs and the gate's parameters for a batch."""
    random = np.random.default_rng(seed)
    return {
        "x": random.standard_normal((batch, TOKENS, WIDTH)).astype(np.float32),
        "ids": random.integers(0, WORDS, (batch, TOKENS)),
        "params": np.array([0.7], np.float32),
    }

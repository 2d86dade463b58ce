"""Small graphs of the strongly typed flavour: a convolution and two products, as TensorRT likes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexit.bundle.specs import BATCH, TensorSpec

PRODUCTS = ("/body/conv", "/head/first", "/head/second")
"""The nodes with weights."""

_TYPES = {"f32": np.float32, "fp16": np.float16, "int8": np.float16}


@dataclass
class Graph:
    """A graph on its way; every method returns the name of what it made."""

    kind: str
    nodes: list[onnx.NodeProto]
    weights: list[onnx.TensorProto]

    @property
    def dtype(self) -> type:
        return _TYPES[self.kind]

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}:0"], name=name, **attributes))
        return f"{name}:0"

    def quantized(self, tensor: str, name: str) -> str:
        if self.kind != "int8":
            return tensor
        scale = self.constant(f"{name}.scale", np.array(0.05, self.dtype))
        zero = self.constant(f"{name}.zero", np.array(0, np.int8))
        tensor = self.node("QuantizeLinear", f"{name}_QuantizeLinear", tensor, scale, zero)
        return self.node("DequantizeLinear", f"{name}_DequantizeLinear", tensor, scale, zero)

    def weight(self, name: str, shape: tuple[int, ...], axis: int) -> str:
        values = np.random.default_rng(len(self.weights)).standard_normal(shape) * 0.05
        if self.kind != "int8":
            return self.constant(name, values.astype(self.dtype))
        whole = np.clip(np.round(values / 0.002), -127, 127).astype(np.int8)
        scale = np.full(shape[axis], 0.002, self.dtype)
        return self.node(
            "DequantizeLinear",
            f"{name}_DequantizeLinear",
            self.constant(name, whole),
            self.constant(f"{name}.scale", scale),
            self.constant(f"{name}.zero", np.zeros(shape[axis], np.int8)),
            axis=axis,
        )

    def save(self, path: Path, inputs: dict[str, tuple], outputs: dict[str, tuple]) -> Path:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(n, element, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, element, s) for n, s in outputs.items()],
            self.weights,
        )
        opset = [helper.make_opsetid("", 20)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=10)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def save_stage(path: Path, kind: str, batch: int | str = BATCH, depth: int = 1) -> Path:
    """Save ``image (batch, 16, 8, 8)`` to ``logits (batch, 16)``; ``depth`` makes builds long."""
    graph = Graph(kind, [], [])
    x = "image"
    for number in range(depth):
        name = "/body/conv" if number == 0 else f"/body/conv.{number}"
        into = 16 if number == 0 else 31 + number
        weight = graph.weight(f"{name}.weight", (32 + number, into, 3, 3), 0)
        x = graph.node("Conv", name, graph.quantized(x, f"{name}.in"), weight, pads=[1, 1, 1, 1])
        x = graph.node("Relu", f"/body/relu.{number}", x)
    axes = graph.constant("axes", np.array([2, 3], np.int64))
    x = graph.node("ReduceMean", "/body/pool", x, axes, keepdims=0)
    weight = graph.weight("first.weight", (31 + depth, 64), 1)
    x = graph.node("MatMul", "/head/first", graph.quantized(x, "/head/first.in"), weight)
    x = graph.node("Relu", "/head/relu", x)
    weight = graph.weight("second.weight", (64, 16), 1)
    x = graph.node("MatMul", "/head/second", graph.quantized(x, "/head/second.in"), weight)
    graph.nodes[-1].output[0] = "logits"
    return graph.save(path, {"image": (batch, 16, 8, 8)}, {"logits": (batch, 16)})


def save_refused(path: Path) -> Path:
    """Save a graph that is sound ONNX and that NVIDIA's parser refuses: MatMulInteger."""
    weight = numpy_helper.from_array(np.ones((4, 4), np.int8), "weight")
    node = helper.make_node("MatMulInteger", ["x", "weight"], ["y"], name="/whole/product")
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 4])],
        [weight],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def specs(kind: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the inputs and outputs of :func:`save_stage`'s graph."""
    dtype = np.dtype(_TYPES[kind]).name
    image = TensorSpec("image", dtype, (BATCH, 16, 8, 8))
    return (image,), (TensorSpec("logits", dtype, (BATCH, 16)),)


def profiles(largest: int = 8) -> tuple[dict, ...]:
    """Return two profiles: single samples, and batches up to ``largest``."""
    one, most = (1, 16, 8, 8), (largest, 16, 8, 8)
    return ({"image": (one, one, one)}, {"image": (one, most, most)})

"""Small ONNX graphs, written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgeexit.graph.normalize import give_names


def text_model(text: str, **weights: np.ndarray) -> ir.Model:
    """Return a model from ONNX's text format and named float weights."""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()
    )
    model = ir.serde.deserialize_model(proto)
    give_names(model)
    return model


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


HEADER = '<ir_version: 9, opset_import: ["" : 20]>'


def two_exits(body: str = "", outputs: str = "float[N,3] a, float[N,4] b") -> ir.Model:
    """Return ``a = x Wa``, ``b = relu(x) Wb`` with further lines of text."""
    text = f"""{HEADER} g (float[N,8] x) => ({outputs}) {{
        a = MatMul(x, wa)
        r = Relu(x)
        b = MatMul(r, wb)
        {body}
    }}"""
    return text_model(text, wa=weight(8, 3), wb=weight(8, 4, seed=1))


def save_with_location(path: Path, location: str) -> None:
    """Save a model whose weight claims to lie in the given external file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8, 3])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [tensor]
    )
    opset = helper.make_opsetid("", 20)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    )

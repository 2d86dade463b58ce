"""A tiny multi-exit model and data, in ONNX and numpy alone: each verb runs on it in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUTS, HIDDEN, CLASSES, SAMPLES = 8, 16, 4, 800


def write_model(path: Path, *, widths=(CLASSES, CLASSES, CLASSES), hidden=HIDDEN) -> Path:
    """Write a perceptron with an exit after each hidden layer; one class count an exit."""
    rng = np.random.default_rng(0)
    nodes, weights, outputs, value = [], [], [], "x"
    for number, classes in enumerate(widths, start=1):
        rows = INPUTS if number == 1 else hidden
        for name, shape in ((f"w{number}", (rows, hidden)), (f"h{number}", (hidden, classes))):
            array = rng.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(shape[0]))
            weights.append(numpy_helper.from_array(array, name))
        nodes += [
            helper.make_node("MatMul", [value, f"w{number}"], [f"m{number}"], f"layer_{number}"),
            helper.make_node("Relu", [f"m{number}"], [f"r{number}"], f"relu_{number}"),
            helper.make_node(
                "MatMul", [f"r{number}", f"h{number}"], [f"exit_{number}"], f"head_{number}"
            ),
        ]
        outputs.append(
            helper.make_tensor_value_info(f"exit_{number}", TensorProto.FLOAT, ["batch", classes])
        )
        value = f"r{number}"
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", INPUTS])
    graph = helper.make_graph(nodes, "perceptron", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def write_data(path: Path, model: Path, *, seed: int = 1) -> Path:
    """Write inputs, and as labels the last exit's classes with a tenth of them wrong."""
    import onnxruntime

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(SAMPLES, INPUTS)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": x})[-1].argmax(axis=1)
    wrong = rng.random(SAMPLES) < 0.1
    y[wrong] = rng.integers(0, CLASSES, wrong.sum())
    np.savez(path, x=x, y=y.astype(np.int64))
    return path

"""The classifiers of ``network`` with a fifth exit that knows nothing and costs a lot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.calibrate.network import write_network
from tests.calibrate.synthetic import CLASSES, WIDTHS

NAME = "useless"
HIDDEN = 64
HEAD_FLOPS = 2 * (WIDTHS[1] * HIDDEN + HIDDEN * CLASSES)


def write_with_useless_exit(path: Path) -> Path:
    """Write the model; its exits are exit_1, exit_2, useless, exit_3 and exit_4."""
    model = onnx.load(write_network(path))
    rng = np.random.default_rng(3)
    shapes = {"U1": (WIDTHS[1], HIDDEN), "U2": (HIDDEN, CLASSES)}
    for name, shape in shapes.items():
        weights = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    model.graph.node.extend(
        [
            helper.make_node("MatMul", ["h2", "U1"], ["u"]),
            helper.make_node("MatMul", ["u", "U2"], [NAME]),
        ]
    )
    output = helper.make_tensor_value_info(NAME, TensorProto.FLOAT, ["batch", CLASSES])
    model.graph.output.insert(2, output)
    onnx.save(model, path)
    return path

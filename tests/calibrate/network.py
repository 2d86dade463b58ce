"""The random-feature classifiers of ``synthetic`` as one ONNX graph with four exits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.calibrate.synthetic import CLASSES, DIMENSION, WIDTHS, Clusters


def write_network(path: Path) -> Path:
    """Write the classifiers; stage k adds its random features to those carried to it."""
    clusters = Clusters()
    nodes, tensors = [], {}
    carried = None
    for k, width in enumerate(WIDTHS, 1):
        first = 0 if k == 1 else WIDTHS[k - 2]
        tensors |= {
            f"P{k}": clusters.projection[:, first:width],
            f"b{k}": clusters.offset[first:width],
            f"W{k}": clusters.heads[k - 1],
        }
        nodes += [
            helper.make_node("Gemm", ["x", f"P{k}", f"b{k}"], [f"a{k}"]),
            helper.make_node("Relu", [f"a{k}"], [f"new{k}"]),
        ]
        hidden = f"new{k}"
        if carried:
            nodes.append(helper.make_node("Concat", [carried, hidden], [f"h{k}"], axis=1))
            hidden = f"h{k}"
        nodes.append(helper.make_node("MatMul", [hidden, f"W{k}"], [f"exit_{k}"]))
        carried = hidden
    graph = helper.make_graph(
        nodes,
        "clusters",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", DIMENSION])],
        [
            helper.make_tensor_value_info(f"exit_{k}", TensorProto.FLOAT, ["batch", CLASSES])
            for k in range(1, len(WIDTHS) + 1)
        ],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path

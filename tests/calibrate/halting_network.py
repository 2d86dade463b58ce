"""The random-feature classifiers, each exit with a sigmoid head that guesses if it is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.calibrate.network import write_network
from tests.calibrate.synthetic import WIDTHS, Clusters


def halting_heads() -> list[tuple[np.ndarray, float]]:
    """A ridge regression of "this exit is right" on an exit's features: weights and offset."""
    clusters = Clusters()
    points, labels = clusters.draw(3000, 11)
    hidden = clusters.hidden(points)
    heads = []
    for width, head in zip(WIDTHS, clusters.heads, strict=True):
        logits = hidden[:, :width] @ head
        top = np.sort(logits, axis=1)
        sure = (logits.argmax(axis=1) == labels) * 2.0 - 1 + 0.3 * (top[:, -1] - top[:, -2] - 2)
        design = np.column_stack([hidden[:, :width], np.ones(len(hidden))])
        weights = np.linalg.solve(design.T @ design + np.eye(width + 1), design.T @ sure)
        heads.append((weights[:-1, None].astype(np.float32), float(weights[-1]) - 1))
    return heads


def write_halting(
    path: Path, family: str = "halt", *, last: bool = True, flat: bool = False
) -> Path:
    """Write the classifiers with outputs ``<family>_1`` … beside their logits.

    Args:
        path: The file.
        family: What the outputs are named.
        last: Whether the last exit has one too.
        flat: Whether they have shape (batch,) rather than (batch, 1).
    """
    model = onnx.load(write_network(path))
    graph = model.graph
    for number, (weights, offset) in enumerate(halting_heads()[: None if last else -1], 1):
        name = f"{family}_{number}"
        hidden = "new1" if number == 1 else f"h{number}"
        graph.initializer.append(numpy_helper.from_array(weights, f"V{number}"))
        graph.initializer.append(
            numpy_helper.from_array(np.array([offset], np.float32), f"v{number}")
        )
        graph.node.append(
            helper.make_node("Gemm", [hidden, f"V{number}", f"v{number}"], [f"g{number}"])
        )
        raw = f"s{number}" if flat else name
        graph.node.append(helper.make_node("Sigmoid", [f"g{number}"], [raw]))
        if flat:
            graph.initializer.append(numpy_helper.from_array(np.array([1]), f"axis{number}"))
            graph.node.append(helper.make_node("Squeeze", [raw, f"axis{number}"], [name]))
        shape = ["batch"] if flat else ["batch", 1]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path

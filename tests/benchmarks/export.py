"""Writes the benchmarked networks as ONNX files: ``python -m tests.benchmarks.export vit FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
TINY_WIDTH, TINY_CLASSES, TINY_EXITS = 16, 10, 4
_HEADER = {"ir_version": 9, "opset_imports": [helper.make_opsetid("", OPSET)]}


def export_network(name: str, path: Path) -> None:
    """Export ``vit`` or ``cnn`` with seeded random weights, the batch dynamic."""
    import torch

    from tests.benchmarks import networks

    torch.manual_seed(0)
    model, side = {
        "vit": (networks.VitSmall, networks.VIT_SIDE),
        "cnn": (networks.SmallCnn, networks.CNN_SIDE),
    }[name]
    program = torch.onnx.export(
        model().eval(),
        (torch.zeros(2, 3, side, side),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=[f"exit_{number}" for number in range(1, networks.EXITS + 1)],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    onnx.save(program.model_proto, str(path))


def write_tiny(path: Path) -> None:
    """Write a network whose stages take the engines next to no time: one product a stage."""
    rng = np.random.default_rng(0)
    nodes, weights, outputs, before = [], [], [], "image"
    for number in range(1, TINY_EXITS + 1):
        for name, width in ((f"w{number}", TINY_WIDTH), (f"v{number}", TINY_CLASSES)):
            array = rng.standard_normal((TINY_WIDTH, width)).astype(np.float32) / 4
            weights.append(numpy_helper.from_array(array, name))
        nodes += [
            helper.make_node("MatMul", [before, f"w{number}"], [f"a{number}"], f"product_{number}"),
            helper.make_node("Relu", [f"a{number}"], [f"h{number}"], f"relu_{number}"),
            helper.make_node("MatMul", [f"h{number}", f"v{number}"], [f"exit_{number}"]),
        ]
        outputs.append(_float(f"exit_{number}", TINY_CLASSES))
        before = f"h{number}"
    graph = helper.make_graph(nodes, "tiny", [_float("image", TINY_WIDTH)], outputs, weights)
    onnx.save(helper.make_model(graph, **_HEADER), str(path))


def write_call(path: Path) -> None:
    """Write a graph of one ReLU, ``x`` to ``y``: what is left of an engine's call is the call."""
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    width = TINY_WIDTH
    graph = helper.make_graph(nodes, "call", [_float("x", width)], [_float("y", width)])
    onnx.save(helper.make_model(graph, **_HEADER), str(path))


def _float(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])


if __name__ == "__main__":
    export_network(sys.argv[1], Path(sys.argv[2]))

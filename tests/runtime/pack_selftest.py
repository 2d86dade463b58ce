"""Makes the bundle of ``edgeexit doctor --target``: ``python -m tests.runtime.pack_selftest``.

A tiny CNN with two exits, int8 with float16 between, so that a device builds convolutions and a
matrix product in int8. Its weights are random: what counts is that
engines agree, not what they say.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexit.compiler import compile_model
from edgeexit.runtime.selftest_bundle import PACKED, pack_selftest

SIDE, CLASSES, SAMPLES = 16, 8, 300
CHANNELS = (3, 16, 32, 32)


def write_cnn(path: Path) -> Path:
    """Write three convolutions, with an exit behind the second and the third."""
    rng = np.random.default_rng(4)
    nodes, weights, outputs, value = [], [], [], "image"

    def weight(name, *shape):
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:] if len(shape) > 2 else shape[:1])))
        array = rng.normal(size=shape).astype(np.float32) * scale
        weights.append(numpy_helper.from_array(array, name))
        return name

    for number, (before, after) in enumerate(pairwise(CHANNELS), start=1):
        kernel = weight(f"w{number}", after, before, 3, 3)
        nodes.append(
            helper.make_node(
                "Conv", [value, kernel], [f"c{number}"], f"conv_{number}",
                pads=[1, 1, 1, 1], strides=[2, 2],
            )
        )  # fmt: skip
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"relu_{number}"))
        value = f"r{number}"
        if number == 1:
            continue
        exit_name = f"exit_{number - 1}"
        head = weight(f"h{number}", after, CLASSES)
        nodes += [
            helper.make_node("GlobalAveragePool", [value], [f"p{number}"], f"pool_{number}"),
            helper.make_node("Flatten", [f"p{number}"], [f"f{number}"], f"flatten_{number}"),
            helper.make_node("MatMul", [f"f{number}", head], [exit_name], f"head_{number}"),
        ]
        outputs.append(
            helper.make_tensor_value_info(exit_name, TensorProto.FLOAT, ["batch", CLASSES])
        )
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "selftest", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def make_selftest(folder: Path, target: str = "jetson") -> Path:
    """Compile the CNN in ``folder`` and return the bundle."""
    rng = np.random.default_rng(5)
    images = rng.normal(size=(SAMPLES, 3, SIDE, SIDE)).astype(np.float32)
    data = folder / "data.npz"
    np.savez(data, image=images)
    model = write_cnn(folder / "selftest.onnx")
    output = folder / "selftest.eex"
    compile_model(model, output, target=target, precision="int8", quant_data=data)
    return output


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        pack_selftest(make_selftest(Path(place)))
    sys.stdout.write(f"{PACKED}: {PACKED.stat().st_size:,} bytes\n")

"""A convolutional network from its file to answers on OpenVINO, its maps channels last between."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("openvino")

import edgeexit
from edgeexit.runtime.machine import Machine

WIDTHS, SIDE, CLASSES = (16, 24, 32), 16, 5


def _write_cnn(path):
    """Write a network of three residual blocks, an exit behind each, the side halved in between."""
    rng = np.random.default_rng(5)
    nodes, weights, outputs, value, before = [], [], [], "image", 3

    def weight(name, *shape):
        spread = np.sqrt(2 / np.prod(shape[1:]))
        array = rng.normal(0, spread, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(array, name))
        return name

    for k, width in enumerate(WIDTHS, start=1):
        into = weight(f"into_{k}", width, before, 3, 3)
        same = weight(f"same_{k}", width, width, 3, 3)
        head = weight(f"head_{k}", width, CLASSES)
        stride = 1 if k == 1 else 2
        nodes += [
            helper.make_node("Conv", [value, into], [f"a{k}"], pads=[1] * 4, strides=[stride] * 2),
            helper.make_node("Relu", [f"a{k}"], [f"b{k}"]),
            helper.make_node("Conv", [f"b{k}", same], [f"c{k}"], pads=[1] * 4),
            helper.make_node("Add", [f"b{k}", f"c{k}"], [f"d{k}"]),
            helper.make_node("Relu", [f"d{k}"], [f"maps_{k}"]),
            helper.make_node("GlobalAveragePool", [f"maps_{k}"], [f"p{k}"]),
            helper.make_node("Flatten", [f"p{k}"], [f"f{k}"]),
            helper.make_node("MatMul", [f"f{k}", head], [f"exit_{k}"]),
        ]
        shape = ["batch", CLASSES]
        outputs.append(helper.make_tensor_value_info(f"exit_{k}", TensorProto.FLOAT, shape))
        value, before = f"maps_{k}", width
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "cnn", [image], outputs, weights)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def _images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cnn")
    model = _write_cnn(folder / "cnn.onnx")
    compiled = edgeexit.compile_model(
        model, folder / "cnn.eex", target="x86", data={"image": _images(64)}
    )
    data = {"image": _images(600, 1), "y": np.random.default_rng(2).integers(0, CLASSES, 600)}
    edgeexit.calibrate_exits(compiled, data, budget=0.7)
    return compiled


def test_its_maps_cross_channels_last(bundle):
    machine = Machine.of(bundle)
    assert machine.channels_last == {"maps_1", "maps_2"}
    assert machine.static_batches
    other = Machine.of(bundle, "cpu")
    assert (other.channels_last, other.static_batches) == (frozenset(), False)


def test_its_stages_equal_the_whole_graph(bundle):
    parity = json.loads((bundle.folder / "parity.json").read_text())
    engine = next(found for found in parity["engines"] if found["device"] == "x86")
    for exits in (engine["batch_1"], engine["random"], engine["batches"]):
        assert [found["max_abs_difference"] for found in exits] == [0.0] * 3


def test_a_batch_that_shrinks_answers_as_single_calls(bundle):
    images = _images(13, 3)
    with edgeexit.Runtime(bundle, budget=0.7, threads=1) as runtime:
        together = runtime(images)
        assert len(set(together.exits.tolist())) > 1
        singles = [runtime(image[None]) for image in images]
        np.testing.assert_array_equal(together.exits, [one.exits[0] for one in singles])
        for place, one in enumerate(singles):
            np.testing.assert_allclose(together.logits[place], one.logits[0], atol=1e-5)
        streamed = list(runtime.stream(images[:, None]))
        np.testing.assert_array_equal([one.exits[0] for one in streamed], together.exits)


def test_its_answers_are_those_without(bundle):
    images = _images(9, 4)
    with edgeexit.Runtime(bundle, budget=0.7, threads=1) as runtime:
        wanted = runtime(images)
    with edgeexit.Runtime(bundle, budget=0.7, threads=1, target="cpu") as runtime:
        found = runtime(images)
    np.testing.assert_array_equal(found.exits, wanted.exits)
    np.testing.assert_allclose(found.logits, wanted.logits, atol=1e-5)

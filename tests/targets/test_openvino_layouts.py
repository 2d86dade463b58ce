"""Feature maps between stages on OpenVINO: nothing is reordered, and no bit changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edgeexit.bundle.specs import TensorSpec
from edgeexit.targets.base import EngineOptions
from edgeexit.targets.processor import read_processor
from edgeexit.targets.registry import get_target

pytest.importorskip("openvino")

import openvino

from edgeexit.targets.openvino.layouts import put_channels_last

CHANNELS, SIDE = 32, 12
IMAGE = TensorSpec("image", "float32", ("batch", 3, SIDE, SIDE))
MAPS = TensorSpec("maps", "float32", ("batch", CHANNELS, SIDE, SIDE))
FIRST, SECOND = (TensorSpec(f"exit_{k}", "float32", ("batch", CHANNELS)) for k in (1, 2))
LAST = frozenset({"maps"})
SINGLE = {"batch": 1}
PRECISIONS = ["f32", "bf16"] if read_processor().computes_bf16 else ["f32"]


def _info(spec):
    kind = TensorProto.INT8 if spec.dtype == "int8" else TensorProto.FLOAT
    return helper.make_tensor_value_info(spec.name, kind, list(spec.shape))


def _save(folder, name, nodes, inputs, outputs):
    rng = np.random.default_rng(3)
    weights = {
        "w_stem": (CHANNELS, 3, 3, 3),
        "w_same": (CHANNELS, CHANNELS, 3, 3),
        "w_next": (CHANNELS, CHANNELS, 3, 3),
    }
    tensors = [
        numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), key)
        for key, shape in weights.items()
    ]
    graph = helper.make_graph(nodes, name, [*map(_info, inputs)], [*map(_info, outputs)], tensors)
    path = Path(folder) / f"{name}.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path


def _conv(read, weight, written):
    return helper.make_node("Conv", [read, weight], [written], pads=[1, 1, 1, 1])


def _mean(read, written):
    return helper.make_node("ReduceMean", [read], [written], axes=[2, 3], keepdims=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two stages of convolutions, the first ending in a sum, as residual blocks do."""
    folder = tmp_path_factory.mktemp("stages")
    first = [
        _conv("image", "w_stem", "stem"),
        helper.make_node("Relu", ["stem"], ["stem_on"]),
        _conv("stem_on", "w_same", "same"),
        helper.make_node("Add", ["same", "stem_on"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["maps"]),
        _mean("maps", "exit_1"),
    ]
    second = [
        helper.make_node("Relu", ["maps"], ["maps_on"]),
        _conv("maps_on", "w_next", "next"),
        _mean("next", "exit_2"),
    ]
    return (
        _save(folder, "first", first, [IMAGE], [MAPS, FIRST]),
        _save(folder, "second", second, [MAPS], [SECOND]),
    )


def _open(files, last, precision="f32", dims=SINGLE, maps=MAPS):
    options = EngineOptions(precision, 1, dims, native=LAST, channels_last=last)
    target = get_target("openvino")
    return (
        target.open(files[0], [IMAGE], [maps, FIRST], options),
        target.open(files[1], [maps], [SECOND], options),
    )


def _answers(files, last, image, precision="f32", dims=SINGLE, maps=MAPS):
    """Return the maps as the first stage hands them on and both exits' outputs."""
    first, second = (
        engine.runner({"batch": len(image)}) for engine in _open(files, last, precision, dims, maps)
    )
    second.bind("maps", first.buffer("maps"))
    first.buffer("image").write(image)
    first.run()
    second.run()
    names = ((first, "maps"), (first, "exit_1"), (second, "exit_2"))
    return [runner.buffer(name).host().copy() for runner, name in names]


def _image(batch, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, 3, SIDE, SIDE)).astype(np.float32)


def _moved(file, last):
    """Return the names of what a stage runs only to move maps."""
    graph = openvino.Core().read_model(file)
    put_channels_last(graph, last)
    graph.reshape(
        {port.get_any_name(): [1, *list(port.partial_shape)[1:]] for port in graph.inputs}
    )
    settings = {"PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(graph, "CPU", settings)
    request = compiled.create_infer_request()
    request.infer([np.ones(list(port.shape), np.float32) for port in compiled.inputs])
    return [
        found.node_name
        for found in request.profiling_info
        if found.node_type in ("Reorder", "Transpose")
        and found.status == found.Status.EXECUTED
        and not found.node_name.startswith("image")
    ]


def test_no_map_is_moved_at_the_edge(files):
    assert _moved(files[0], frozenset())
    assert _moved(files[1], frozenset())
    assert _moved(files[0], LAST) == _moved(files[1], LAST) == []


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch", [1, 3])
def test_bits_and_axes(files, precision, batch):
    dims = {"batch": batch}
    plain = _answers(files, frozenset(), _image(batch), precision, dims)
    last = _answers(files, LAST, _image(batch), precision, dims)
    assert last[0].shape == (batch, SIDE, SIDE, CHANNELS)
    np.testing.assert_array_equal(last[0], plain[0].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(last[1], plain[1])
    np.testing.assert_array_equal(last[2], plain[2])


def test_batches_of_any_size_agree_too(files):
    plain = _answers(files, frozenset(), _image(3), dims={"batch": 3})
    last = _answers(files, LAST, _image(3), dims={})
    np.testing.assert_allclose(last[2], plain[2], atol=1e-5)


def test_what_is_not_a_number_stays_so(tmp_path):
    # A Relu would hide it.
    first = _save(
        tmp_path,
        "first",
        [_conv("image", "w_stem", "maps"), _mean("maps", "exit_1")],
        [IMAGE],
        [MAPS, FIRST],
    )
    second = _save(
        tmp_path,
        "second",
        [_conv("maps", "w_next", "next"), _mean("next", "exit_2")],
        [MAPS],
        [SECOND],
    )
    files, image = (first, second), _image(1)
    image[0, 0, 5, 5] = np.nan
    plain = _answers(files, frozenset(), image)
    last = _answers(files, LAST, image)
    assert np.isnan(plain[2]).any()
    for found, wanted in zip(last[1:], plain[1:], strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_quantized_maps(tmp_path):
    scale = helper.make_node("Constant", [], ["scale"], value_float=0.03)
    zero = numpy_helper.from_array(np.int8(0), "zero")
    zero = helper.make_node("Constant", [], ["zero"], value=zero)
    whole = [_conv("image", "w_stem", "stem"), _mean("stem", "exit_1")]
    quantized = helper.make_node("QuantizeLinear", ["stem", "scale", "zero"], ["maps"])
    back = helper.make_node("DequantizeLinear", ["maps", "scale", "zero"], ["real"])
    maps = replace(MAPS, dtype="int8")
    first = [scale, zero, *whole, quantized]
    second = [scale, zero, back, _conv("real", "w_next", "next"), _mean("next", "exit_2")]
    files = (
        _save(tmp_path, "first", first, [IMAGE], [maps, FIRST]),
        _save(tmp_path, "second", second, [maps], [SECOND]),
    )
    assert get_target("openvino").channels_last(files, [maps]) == LAST
    plain = _answers(files, frozenset(), _image(2), dims={"batch": 2}, maps=maps)
    last = _answers(files, LAST, _image(2), dims={"batch": 2}, maps=maps)
    assert last[0].dtype == np.int8
    assert len(np.unique(last[0])) > 50
    np.testing.assert_array_equal(last[0], plain[0].transpose(0, 2, 3, 1))
    # The mean of the float maps behind it is summed in another order.
    np.testing.assert_allclose(last[2], plain[2], atol=1e-6)


def test_maps_are_chosen_by_who_reads_them(files, tmp_path):
    target = get_target("openvino")
    assert target.channels_last(files, [MAPS]) == LAST
    assert target.channels_last(files, []) == frozenset()
    # In the first stage nothing reads them behind an edge.
    assert target.channels_last(files[:1], [MAPS]) == frozenset()
    flat = [
        helper.make_node("Flatten", ["maps"], ["flat"]),
        helper.make_node("ReduceSum", ["flat"], ["sum"]),
        helper.make_node("Add", ["sum", "flat"], ["exit_2"]),
    ]
    wide = replace(SECOND, shape=("batch", CHANNELS * SIDE * SIDE))
    reader = _save(tmp_path, "flat", flat, [MAPS], [wide])
    assert target.channels_last([files[0], reader], [MAPS]) == frozenset()


def test_other_targets_leave_maps_as_they_are(files):
    pytest.importorskip("onnxruntime")
    assert get_target("onnxruntime").channels_last(files, [MAPS]) == frozenset()

"""Stages on the fake TensorRT: the conformance suite, and what is particular to this target.

Nothing here shows that an engine of NVIDIA runs: the fakes say what they prove.
"""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, save

pytest.importorskip("onnxruntime")
from fake_target import FakeTarget

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import TargetError
from edgeexit.targets.base import EngineOptions
from edgeexit.targets.buffer import HostBuffer
from edgeexit.targets.tensorrt.buffers import DeviceBuffer, MirroredBuffer
from edgeexit.targets.tensorrt.engine import MIRRORED_BYTES
from tests.conformance.chain import Chain
from tests.conformance.graphs import sample
from tests.conformance.suite import TargetConformance
from tests.targets.tensorrt.stages import FIXED, open_stages


class TestConformance(TargetConformance):
    """The suite that every target passes, on the fake GPU."""

    @pytest.fixture(scope="class")
    @classmethod
    def target_name(cls):
        return "tensorrt"

    @pytest.fixture(scope="class")
    @classmethod
    def target(cls, target_name):
        return FakeTarget()


def test_boundary_tensors_stay_on_the_device(graphs):
    target = FakeTarget()
    runner = open_stages(target, graphs, FIXED)[0].runner({})
    kinds = {name: type(runner.buffer(name)) for name in runner.outputs}
    assert {name for name, kind in kinds.items() if kind is MirroredBuffer} == {
        "state", "logits1", "score1",
    }  # fmt: skip
    assert kinds["h1"] is DeviceBuffer
    large = replace(graphs[0].outputs[0], name="logits1", shape=("batch", 10))
    assert MIRRORED_BYTES == 65536
    assert runner.outputs["logits1"] == large


def test_static_and_batch_use_share_one_deserialized_engine(graphs):
    target = FakeTarget()
    ranges = {"batch": (1, 4, 8)}
    single = open_stages(target, graphs, FIXED, ranges=ranges)
    batches = open_stages(target, graphs, ranges=ranges)
    assert target.api.deserialized == 3
    alone, many = Chain(single, {}), Chain(batches, {"batch": 5})
    arrays = sample(5)
    found = many(arrays)
    one = {name: value[:1] if name != "params" else value for name, value in arrays.items()}
    np.testing.assert_allclose(alone(one)["logits3"], found["logits3"][:1], atol=2e-5)
    contexts = [runner._launch._context for runner in (*alone.runners, *many.runners)]
    assert [context.profile for context in contexts] == [0, 0, 0, 1, 1, 1]
    with pytest.raises(
        TargetError, match=r"these shapes: x \(9, 8, 32\) \(from .* to \(8, 8, 32\)"
    ):
        batches[0].runner({"batch": 9})
    for engine in (*single, *batches):
        engine.close()
    del single, batches, alone, many, contexts
    gc.collect()
    assert open_stages(target, graphs, FIXED, ranges=ranges)
    assert target.api.deserialized == 6


def test_an_output_of_another_shape_than_its_spec_is_refused_before_it_runs(graphs):
    graph = graphs[1][0]
    outputs = [replace(s, shape=("batch", 9)) for s in graph.outputs if s.name == "logits1"]
    engine = FakeTarget().open(graph.file, graph.inputs, outputs, EngineOptions())
    with pytest.raises(TargetError, match=r"'logits1' has shape \(2, 10\), but .* \(2, 9\)"):
        engine.runner({"batch": 2})


def test_a_type_that_is_not_the_specs_is_refused(graphs):
    graph = graphs[1][0]
    outputs = [replace(s, dtype="float16") if s.name == "h1" else s for s in graph.outputs]
    with pytest.raises(
        TargetError, match=r"'h1' of stage1\.onnx is float32 in its engine"
    ) as caught:
        FakeTarget().open(graph.file, graph.inputs, outputs, EngineOptions())
    assert caught.value.code == "target.tensors"


def half_stage(path, reads, writes):
    """A stage that casts, with a half-precision boundary of three values a sample."""
    kinds = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
    infos = [
        [helper.make_tensor_value_info(s.name, kinds[s.dtype], s.shape) for s in specs]
        for specs in ((reads,), (writes,))
    ]
    node = helper.make_node("Cast", [reads.name], [writes.name], to=kinds[writes.dtype])
    graph = helper.make_graph([node], path.stem, *infos)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    return path, (reads,), (writes,)


def test_half_precision_crosses_a_boundary_and_is_compacted(tmp_path):
    x, h, y = (
        TensorSpec(name, dtype, ("batch", 3))
        for name, dtype in (("x", "float32"), ("h", "float16"), ("y", "float32"))
    )
    target = FakeTarget()
    options = EngineOptions("fp16", native=frozenset("h"))
    first = target.open(*half_stage(tmp_path / "a.onnx", x, h), options)
    second = target.open(*half_stage(tmp_path / "b.onnx", h, y), options)
    full, fewer = (Chain([first, second], {"batch": size}) for size in (7, 4))
    array = np.arange(21, dtype=np.float32).reshape(7, 3) / 16
    np.testing.assert_array_equal(full({"x": array})["y"], array)
    assert full.outputs["h"].buffer("h").host().dtype == np.float16
    rows = np.array([6, 0, 2, 4])
    full.outputs["h"].buffer("h").take(rows, 0, fewer.outputs["h"].buffer("h"))
    fewer.runners[1].run()
    np.testing.assert_array_equal(fewer.runners[1].buffer("y").host(), array[rows])


def test_buffers_of_another_engine_are_refused(graphs):
    target = FakeTarget()
    runner = open_stages(target, graphs, FIXED)[1].runner({})
    stranger = open_stages(FakeTarget(), graphs, FIXED)[0].runner({}).buffer("h1")
    for buffer in (stranger, HostBuffer("float32", (1, 8, 32))):
        with pytest.raises(TargetError, match="cannot use a") as caught:
            runner.bind("h1", buffer)
        assert caught.value.code == "target.buffer"

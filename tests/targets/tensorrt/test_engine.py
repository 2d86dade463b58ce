"""Stages on the fake TensorRT: the conformance suite, and what is particular to this target.

Nothing here shows that an engine of NVIDIA runs: the fakes say what they prove.
"""

from __future__ import annotations

import gc
import weakref
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
from tests.conformance.graphs import CARRIED, sample, save_stages
from tests.conformance.suite import TargetConformance


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


FIXED = {"batch": 1}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    return save_stages(tmp_path_factory.mktemp("graphs"))


def open_stages(target, graphs, dims=None, **kwargs):
    options = EngineOptions(dims=dims or {}, native=CARRIED, **kwargs)
    return [target.open(g.file, g.inputs, g.outputs, options) for g in graphs[1]]


def test_a_graph_is_recorded_at_the_second_run_and_again_after_a_new_binding(graphs):
    target = FakeTarget()
    chain = Chain(open_stages(target, graphs, FIXED), {})
    cuda, api = target.cuda, target.api
    expected = chain(sample(1))
    assert (cuda.calls["begin_capture"], cuda.calls["launch"], api.enqueued) == (0, 0, 3)
    for turn in range(3):
        found = chain(sample(1))
        assert (cuda.calls["begin_capture"], cuda.calls["launch"]) == (3, 3 * (turn + 1))
    assert api.enqueued == 6  # three plain ones, three into graphs
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    other = Chain(open_stages(target, graphs, FIXED), {})
    wanted = other(sample(1, seed=5))["logits2"]
    before = cuda.calls["exec_destroy"]
    chain.runners[1].bind("h1", other.runners[0].buffer("h1"))
    chain.runners[1].buffer("ids").write(sample(1, seed=5)["ids"])
    chain.runners[1].run()
    np.testing.assert_array_equal(chain.runners[1].buffer("logits2").host(), wanted)
    assert cuda.calls["begin_capture"] == 4
    assert cuda.calls["exec_destroy"] == before + 1
    assert cuda.live()["graphs"] == 0


def test_without_cuda_graphs_nothing_is_recorded(graphs):
    target = FakeTarget()
    chain = Chain(open_stages(target, graphs, FIXED, settings={"cuda_graphs": False}), {})
    for _ in range(3):
        chain(sample(1))
    assert target.cuda.calls["begin_capture"] == 0
    assert target.api.enqueued == 9


@pytest.mark.parametrize("call", ["begin_capture", "copy", "end_capture", "instantiate"])
def test_a_capture_that_fails_is_a_note_and_the_stage_runs_plainly(graphs, caplog, call):
    target = FakeTarget()
    runner = open_stages(target, graphs, FIXED)[0].runner({})
    for name in ("x", "params"):
        runner.buffer(name).write(sample(1)[name])
    runner.run()
    expected = runner.buffer("logits1").host().copy()
    runner.buffer("x").write(sample(1, 3)["x"])
    cuda = target.cuda
    if call == "copy":  # refused inside the capture only
        begin = cuda.begin_capture
        cuda.begin_capture = lambda stream: (begin(stream), cuda.refuse.add("copy"))
        end = cuda.end_capture
        cuda.end_capture = lambda stream: (cuda.refuse.discard("copy"), end(stream))[1]
    else:
        cuda.refuse.add(call)
    for _ in range(3):
        runner.run()
    cuda.refuse.clear()
    assert f"runs without a CUDA graph: fake CUDA refuses {call}" in caplog.text
    assert len(caplog.records) == 1
    assert cuda.calls["launch"] == 0
    assert cuda.live()["graphs"] == cuda.live()["execs"] == 0
    changed = runner.buffer("logits1").host().copy()
    assert not np.array_equal(changed, expected)
    runner.buffer("x").write(sample(1)["x"])
    runner.run()
    np.testing.assert_array_equal(runner.buffer("logits1").host(), expected)


def test_garbage_collected_in_the_middle_of_a_capture_does_not_break_it(graphs):
    target = FakeTarget()
    engines = open_stages(target, graphs, FIXED)
    first = engines[0].runner({})
    first.run()
    other = engines[0].runner({})
    other.run()
    cycle = [other]
    cycle.append(cycle)
    target.api.collect_in_enqueue = True
    before = target.cuda.live()["device_blocks"]
    del other, cycle
    first.run()
    assert target.cuda.calls["launch"] == 1
    # Freed behind the capture, not in it.
    assert target.cuda.live()["device_blocks"] < before


def test_an_exit_waits_once_whatever_the_host_reads_of_it(graphs):
    target = FakeTarget()
    runner = open_stages(target, graphs, FIXED)[0].runner({})
    for name in ("x", "params"):
        runner.buffer(name).write(sample(1)[name])
    cuda = target.cuda
    for turn in range(1, 5):
        waits = cuda.calls["event_synchronize"] + cuda.calls["stream_synchronize"]
        copies = cuda.calls["copy"]
        runner.run()
        assert cuda.calls["event_synchronize"] + cuda.calls["stream_synchronize"] == waits
        for name in ("score1", "logits1", "state", "score1"):
            assert np.abs(runner.buffer(name).host()).max() > 0
        assert cuda.calls["event_synchronize"] + cuda.calls["stream_synchronize"] == waits + 1
        if turn > 1:  # replayed, but for the recording itself: one copy for all outputs
            assert cuda.calls["copy"] - copies == (1 if turn == 2 else 0)


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


def test_memory_of_inputs_that_are_bound_elsewhere_is_never_allocated(graphs):
    target = FakeTarget()
    engines = open_stages(target, graphs, FIXED)
    first, second = (engine.runner({}) for engine in engines[:2])
    second.bind("h1", first.buffer("h1"))
    sizes = []
    malloc = target.cuda.malloc
    target.cuda.malloc = lambda size: (sizes.append(size), malloc(size))[1]
    first.run()
    second.run()
    h1, ids = 8 * 32 * 4, 8 * 8
    assert sizes.count(h1) == 4  # x, h1, w1 of the first stage, h2 of the second
    assert sizes.count(ids) == 1


def test_one_scratch_block_serves_all_stages_and_grows(graphs):
    target = FakeTarget()
    engines = open_stages(target, graphs, FIXED)
    first = [engine.runner({}) for engine in engines]
    for runner in first:
        runner.run()
    largest = max(engine._opened[1].scratch_bytes for engine in engines)
    assert set(target.api.scratches) == {(target.api.scratches[0][0], largest)}
    before = set(target.api.scratches)
    whole = target.open(graphs[0].file, graphs[0].inputs, graphs[0].outputs, EngineOptions())
    runner = whole.runner({"batch": 2})
    runner.run()
    size = whole._opened[1].scratch_bytes
    assert size > largest
    (grown,) = set(target.api.scratches) - before
    assert grown[1] == size
    # The old contexts keep the old block, which lives as long as they do.
    target.cuda.view(*target.api.scratches[0])
    later = engines[0].runner({})
    later.run()
    assert target.api.scratches[-1] == grown
    del first, later
    gc.collect()
    with pytest.raises(TargetError, match="no live memory"):
        target.cuda.view(*target.api.scratches[0])


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


def test_closing_frees_everything_without_the_garbage_collector(graphs):
    target = FakeTarget()
    gc.collect()
    gc.disable()
    try:
        chain = Chain(open_stages(target, graphs, FIXED), {})
        engines = open_stages(target, graphs)
        many, fewer = Chain(engines, {"batch": 6}), Chain(engines, {"batch": 5})
        for _ in range(3):
            chain(sample(1))
        many(sample(6))
        rows = np.array([5, 3, 1, 0, 4])  # five runs: the gather engine
        many.outputs["h1"].buffer("h1").take(rows, 0, fewer.outputs["h1"].buffer("h1"))
        view = chain.outputs["logits3"].buffer("logits3").host()
        wanted = view.copy()
        del chain, many, fewer, engines
        # The view holds its own block, and that the stream with its zeros and its event.
        live = target.cuda.live()
        assert (live["device_blocks"], live["pinned_blocks"], live["events"]) == (0, 2, 1)
        np.testing.assert_array_equal(view, wanted)
        del view
        assert set(target.cuda.live().values()) == {0}
    finally:
        gc.enable()


def test_closing_an_engine_frees_what_its_runners_hold(graphs):
    target = FakeTarget()
    engine = open_stages(target, graphs, FIXED)[0]
    runners = [engine.runner({}) for _ in range(2)]
    for runner in runners:
        runner.run()
        runner.run()
    engine.close()
    assert set(target.cuda.live().values()) == {0}
    assert len(runners) == 2


def test_three_hundred_openings_leave_nothing(graphs):
    target = FakeTarget()
    graph = graphs[1][0]
    # Without the fake's check of the file, which takes most of the time.
    target.api.build = lambda job, report: b"FAKE" + job.to_json().encode()
    for turn in range(300):
        engine = target.open(graph.file, graph.inputs, graph.outputs, EngineOptions(dims=FIXED))
        runner = engine.runner({})
        for _ in range(turn % 3):
            runner.run()
        engine.close()
        assert set(target.cuda.live().values()) == {0}, turn
    assert target.cuda.calls["malloc"] == target.cuda.calls["free"] > 300


def test_a_context_goes_before_the_engine_that_it_is_of(graphs):
    target, gone = FakeTarget(), []
    api = target.api
    made, loaded = api.context, api.deserialize

    def context(engine):
        found = made(engine)
        # A binding whose context does not keep its engine, as nothing promises that it does.
        found.__class__ = type("Bare", (type(found),), {"engine": property(lambda _: kept())})
        del found.__dict__["engine"]
        kept = weakref.ref(engine)
        weakref.finalize(found, gone.append, "context")
        return found

    def deserialize(plan):
        engine = loaded(plan)
        weakref.finalize(engine, gone.append, "engine")
        return engine

    api.context, api.deserialize = context, deserialize
    graph = graphs[1][0]
    engine = target.open(graph.file, graph.inputs, graph.outputs, EngineOptions(dims=FIXED))
    running = engine.runner({})._launch  # as a thread in the middle of a run holds it
    running()
    engine.close()
    del engine
    gc.collect()
    assert gone == []
    del running
    gc.collect()
    assert gone == ["context", "engine"]

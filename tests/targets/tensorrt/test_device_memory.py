"""The GPU's memory on the fake TensorRT: what is allocated, shared and freed.

Nothing here shows that an engine of NVIDIA runs: the fakes say what they prove.
"""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
from fake_target import FakeTarget

from edgeexit.errors import TargetError
from edgeexit.targets.base import EngineOptions
from tests.conformance.chain import Chain
from tests.conformance.graphs import sample
from tests.targets.tensorrt.stages import FIXED, open_stages


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

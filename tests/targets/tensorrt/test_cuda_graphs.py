"""Stages recorded as CUDA graphs on the fake TensorRT, and what an exit waits for.

Nothing here shows that an engine of NVIDIA runs: the fakes say what they prove.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
from fake_target import FakeTarget

from tests.conformance.chain import Chain
from tests.conformance.graphs import sample
from tests.targets.tensorrt.stages import FIXED, open_stages


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

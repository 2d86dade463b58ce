"""Threads, closing, forks and profiles."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from toy import make_inputs

from edgeexit.errors import ResourceError, TargetError
from edgeexit.runtime.runtime import Runtime


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_eight_threads_answer_as_one(toy_bundle, device):
    with Runtime(toy_bundle, target=device, threads=1) as runtime:
        work = []
        for seed in range(40):
            rows = (1, 1, 1, 2, 5, 9)[seed % 6]
            inputs = make_inputs(rows, seed)
            exits = np.random.default_rng(seed).integers(1, 4, rows)
            work.append((inputs, exits, runtime.run_to(inputs, exits).logits))

        def answer(start):
            wrong = 0
            for step in range(300):
                inputs, exits, wanted = work[(start * 5 + step) % len(work)]
                wrong += not np.array_equal(runtime.run_to(inputs, exits).logits, wanted)
            return wrong

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(answer, range(8))) == [0] * 8
        assert 1 <= len(runtime._pool._idle) <= 8
        assert not runtime._pool._callers


def test_arun(runtime):
    inputs = make_inputs(3)

    async def both():
        return await asyncio.gather(*(runtime.arun(inputs) for _ in range(4)))

    wanted = runtime(inputs).logits
    for result in asyncio.run(both()):
        np.testing.assert_array_equal(result.logits, wanted)


def test_a_closed_runtime_says_so(toy_bundle):
    runtime = Runtime(toy_bundle, threads=1)
    runtime.close()
    runtime.close()
    for call in (runtime, runtime.all_exits):
        with pytest.raises(ResourceError, match="closed") as caught:
            call(make_inputs(1))
        assert caught.value.code == "runtime.closed"


def test_close_waits_for_calls_under_way(toy_bundle):
    for _ in range(5):
        runtime = Runtime(toy_bundle, threads=1)
        wanted = runtime(make_inputs(3)).logits
        errors = []
        started = threading.Barrier(5)

        def work(runtime=runtime, wanted=wanted, errors=errors, started=started):
            started.wait()
            try:
                while True:
                    assert np.array_equal(runtime(make_inputs(3)).logits, wanted)
            except ResourceError as caught:
                errors.append(caught.code)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        runtime.close()
        for thread in threads:
            thread.join()
        assert errors == ["runtime.closed"] * 4


def test_a_failed_call_does_not_spoil_the_next(toy_bundle):
    with Runtime(toy_bundle, threads=1) as runtime:
        wanted = runtime(make_inputs(4)).logits
        lane = next(iter(runtime._pool._idle))._lanes[1, ()]
        lane._runners[1].release()
        with pytest.raises(TargetError):
            runtime(make_inputs(1))
        assert not runtime._pool._idle
        np.testing.assert_array_equal(runtime(make_inputs(4)).logits, wanted)
        assert runtime(make_inputs(1)).exits[0] == 3
    assert not runtime._pool._idle
    assert not runtime._pool._callers


@pytest.mark.timeout(60)
def test_interrupted_calls_do_not_keep_it_from_closing(toy_bundle):
    def interrupt(*_):
        raise KeyboardInterrupt

    runtime = Runtime(toy_bundle, threads=1)
    inputs, interrupted = make_inputs(1), 0
    wanted = runtime(inputs).logits
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(500):
            try:
                # Again and again: what falls into a callback of the collector, Python swallows.
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-6 * number, 0.01)
                while True:
                    runtime(inputs)
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                interrupted += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted == 500
    assert np.array_equal(runtime(inputs).logits, wanted)
    # Where the worst moment was not met by chance: a worker that nobody gives back.
    runtime._pool.take()
    runtime.close()


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_the_interpreter_ends_while_threads_are_answering(toy_bundle, device):
    script = f"""
import threading, time
import numpy as np
from edgeexit import ResourceError, Runtime
runtime = Runtime({str(toy_bundle.folder)!r}, target={device!r}, threads=1)
inputs = {{"x": np.ones((5, 8), np.float32), "z": np.ones((5, 4), np.float32)}}
def answer():
    try:
        while True:
            runtime(inputs)
    except ResourceError:
        pass
for _ in range(3):
    threading.Thread(target=answer, daemon=True).start()
time.sleep(0.1)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_forgotten_runtime_frees_its_engines(toy_bundle):
    runtime = Runtime(toy_bundle, threads=1)
    engines = next(iter(runtime._engines))._single
    del runtime
    gc.collect()
    with pytest.raises(TargetError, match="closed"):
        engines[0].operations()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_is_told_to_open_its_own(toy_bundle):
    with Runtime(toy_bundle, threads=1) as runtime:
        runtime(make_inputs(1))
        child = os.fork()
        if child == 0:
            try:
                runtime(make_inputs(1))
            except ResourceError as error:
                runtime.close()
                os._exit(42 if error.code == "runtime.forked" else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
        assert runtime(make_inputs(1)).exits[0] == 3


def test_a_profile_counts_and_traces(runtime, tmp_path):
    runtime.run_to(make_inputs(1), 3)
    with runtime.profile() as profile:
        for number in (1, 1, 2, 3):
            runtime.run_to(make_inputs(1), number)
        runtime.run_to(make_inputs(4), np.array([1, 1, 1, 3]))
        with pytest.raises(ResourceError) as caught, runtime.profile():
            pass
        assert caught.value.code == "runtime.profile-active"
    runtime.run_to(make_inputs(1), 3)
    summary = profile.summary()
    assert (summary.calls, summary.samples) == (5, 8)
    assert [(stage.number, stage.runs, stage.slots) for stage in summary.stages] == [
        (1, 5, 8),
        (2, 3, 3),
        (3, 2, 2),
    ]
    np.testing.assert_array_equal(summary.exits, [5, 1, 2])
    np.testing.assert_allclose(summary.shares, [5 / 8, 1 / 8, 2 / 8])
    for stage in summary.stages:
        assert 0 < stage.min_ms <= stage.median_ms <= stage.p95_ms <= stage.total_ms
    assert sum(stage.total_ms for stage in summary.stages) < summary.call_ms
    profile.save_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in trace].count("call") == 5
    stages = [event for event in trace if event["name"].startswith("stage")]
    assert len(stages) == 10
    assert {event["ph"] for event in trace} == {"M", "X"}
    assert min(event["ts"] for event in trace if event["ph"] == "X") == 0
    assert stages[-1]["args"] == {"batch": 1}

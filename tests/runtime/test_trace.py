"""Traces against the rules of the Trace Event Format, and those that Perfetto adds to them.

The rules are those of the format's document ("Trace Event Format", Google, section 2: JSON object
format, complete and metadata events) and of Perfetto's importer, which reads identifiers as 32-bit
numbers and drops what overlaps in part. No viewer is opened here.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading

import numpy as np
import pytest
from toy import make_inputs

from edgeexit.runtime.trace import Span, trace_events

THREADS = 4


def check_event(event):
    """Check the keys and types of one event."""
    assert event["ph"] in ("X", "M"), event
    assert isinstance(event["name"], str)
    assert event["name"]
    assert isinstance(event["args"], dict)
    for key in ("pid", "tid"):
        # Perfetto puts all threads with larger numbers, or none, onto one track.
        assert type(event[key]) is int, event
        assert 0 <= event[key] < 2**32, event
    if event["ph"] == "M":
        assert event["name"] in ("process_name", "thread_name")
        assert isinstance(event["args"]["name"], str)
        return
    for key in ("ts", "dur"):
        assert type(event[key]) in (int, float), event
        assert math.isfinite(event[key]), event
        assert event[key] >= 0, event


def check_nested(events):
    """Check that the complete events of each thread lie in each other or apart.

    Perfetto reads microseconds as whole nanoseconds, and has taken off what is behind the point.
    """
    for thread in {(event["pid"], event["tid"]) for event in events}:
        ends = []
        mine = [event for event in events if (event["pid"], event["tid"]) == thread]
        # Among events that begin together the first in the file holds the others.
        for event in sorted(mine, key=lambda event: int(event["ts"] * 1000)):
            start = int(event["ts"] * 1000)
            end = start + int(event["dur"] * 1000)
            while ends and ends[-1] <= start:
                ends.pop()
            assert not ends or end <= ends[-1], f"{event} overlaps what it is not part of"
            ends.append(end)


def check_trace(text):
    """Check a trace as it is in a file; return its complete events and the threads' names."""

    def no_number(word):
        raise AssertionError(f"{word} is no JSON")

    trace = json.loads(text, parse_constant=no_number)
    assert set(trace) <= {"traceEvents", "displayTimeUnit", "otherData"}
    events = trace["traceEvents"]
    for event in events:
        check_event(event)
    check_nested([event for event in events if event["ph"] == "X"])
    named = [event for event in events if event["name"] == "thread_name"]
    names = {(event["pid"], event["tid"]): event["args"]["name"] for event in named}
    assert len(names) == len(named)
    spans = [event for event in events if event["ph"] == "X"]
    assert {(event["pid"], event["tid"]) for event in spans} == set(names)
    processes = [event["pid"] for event in events if event["name"] == "process_name"]
    assert processes == sorted({event["pid"] for event in events})
    return spans, {tid: name for (_, tid), name in names.items()}


def saved(profile, folder):
    profile.save_trace(folder / "trace.json")
    return (folder / "trace.json").read_text(encoding="utf-8")


def test_the_trace_of_several_threads_keeps_the_rules(runtime, tmp_path):
    together, identifiers = threading.Barrier(THREADS), set()

    def work(seed):
        identifiers.add(threading.get_native_id())
        together.wait(60)
        for step in range(10):
            runtime.run_to(make_inputs(3, 10 * seed + step), np.array([1, 2, 3]))
        # A system gives the number of a thread that has ended to the next one.
        together.wait(60)

    with runtime.profile() as profile:
        threads = [
            threading.Thread(target=work, args=(seed,), name=f"camera {seed}")
            for seed in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spans, names = check_trace(saved(profile, tmp_path))
    assert set(names) == identifiers
    assert sorted(names.values()) == [f"camera {seed}" for seed in range(THREADS)]
    assert {span["pid"] for span in spans} == {os.getpid()}
    calls = [span for span in spans if span["name"] == "call"]
    assert [span["args"] for span in calls] == [{"samples": 3, "mean exit": 2.0}] * 10 * THREADS
    summary = profile.summary()
    assert sum(span["dur"] for span in calls) == pytest.approx(1000 * summary.call_ms)
    for stage in summary.stages:
        mine = [span for span in spans if span["name"] == f"stage {stage.number}"]
        assert len(mine) == stage.runs == 10 * THREADS
        assert sum(span["dur"] for span in mine) == pytest.approx(1000 * stage.total_ms)
        # Each lies in a call of its own thread.
        for span in mine:
            end = span["ts"] + span["dur"]
            assert any(
                call["tid"] == span["tid"]
                and call["ts"] <= span["ts"]
                and end <= call["ts"] + call["dur"]
                for call in calls
            )


def test_streams_and_event_loops_keep_the_rules(runtime, tmp_path):
    async def ask():
        await asyncio.gather(*(runtime.arun(make_inputs(2, seed)) for seed in range(8)))

    with runtime.profile() as profile:
        asyncio.run(ask())
        for _ in runtime.stream((make_inputs(1, seed) for seed in range(20)), batch=4):
            runtime(make_inputs(1))
    spans, _ = check_trace(saved(profile, tmp_path))
    assert [span["name"] for span in spans].count("call") == 28
    assert min(span["ts"] for span in spans) == 0


def test_a_profile_of_nothing_is_a_trace(runtime, tmp_path):
    with runtime.profile() as profile:
        pass
    assert check_trace(saved(profile, tmp_path)) == ([], {})


def test_spans_that_begin_together_are_told_from_the_outermost():
    spans = [Span("stage 1", 7, 8, 1, {}), Span("stage 1", 5, 6, 1, {}), Span("call", 5, 9, 1, {})]
    told, _ = check_trace(json.dumps(trace_events(spans, {1: "main"})))
    assert [(span["name"], span["ts"], span["dur"]) for span in told] == [
        ("call", 0.0, 0.004), ("stage 1", 0.0, 0.001), ("stage 1", 0.002, 0.001)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([Span("a", 0, 5, 1, {}), Span("b", 3, 8, 1, {})], "overlaps"),
        ([Span("a", 0, 5, 140_000_000_000_000, {})], "140000000000000"),
        ([Span("a", 5, 0, 1, {})], "-0.005"),
        ([Span("a", 0, 5, 1, {"mean exit": math.nan})], "NaN is no JSON"),
    ],
)
def test_these_checks_can_fail(spans, said):
    text = json.dumps(trace_events(spans, {spans[0].thread: "main"}))
    with pytest.raises(AssertionError, match=said):
        check_trace(text)

"""Clocks that go back, and devices that slow down: durations never come from the wall clock."""

from __future__ import annotations

import ast
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeexit.bundle.exits import CostTable
from edgeexit.runtime.energy import measure_energy
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.runtime.families import make_family
from tests.runtime.governed import FakeClock, fine_family, rows_of, slow_down
from tests.runtime.toy import make_inputs, write_bundle

ROOT = Path(__file__).parents[2]
ROOMS = ("edgeexit/runtime", "targets", "calibrate", "edgeexit/cli", "edgeexit/graph")
WALL = {
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime",
    "time.clock_gettime", "time.clock_gettime_ns", "datetime.now", "datetime.utcnow",
    "datetime.today", "date.today",
}  # fmt: skip


def wall_clocks(text):
    """Return the lines of a module in which a clock that may go back is used or imported."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute):
            name = node.value.attr if isinstance(node.value, ast.Attribute) else ""
            name = node.value.id if isinstance(node.value, ast.Name) else name
            if f"{name}.{node.attr}" in WALL:
                found.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [node.lineno for alias in node.names if f"time.{alias.name}" in WALL]
    return found


def test_no_room_that_measures_asks_the_wall_clock():
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 100
    found = {file: wall_clocks(file.read_text(encoding="utf-8")) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import time\nstart = time.time()",
        "import time as t, datetime\nt0 = datetime.datetime.now()",
        "from datetime import datetime\nx = datetime.utcnow()",
        "from time import perf_counter, time",
        "import time\nclock = time.time_ns",
    ],
)
def test_the_lint_sees_a_wall_clock(text):
    assert wall_clocks(text)
    assert not wall_clocks("from time import perf_counter, sleep\nx = perf_counter()")


def test_nothing_that_runs_asks_the_wall_clock(tmp_path, monkeypatch):
    """Calls, batches, streams, the governor and its deadline, a profile and joules."""
    bundle = write_bundle(tmp_path)
    bundle.write_exits(make_family(bundle))

    def gone(*_):
        raise AssertionError("the wall clock was asked")

    monkeypatch.setattr(time, "time", gone)
    monkeypatch.setattr(time, "time_ns", gone)
    governor = Governor(0.6, deadline_ms=1000.0, audit=0.2, seed=1)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        with runtime.profile() as profile:
            runtime(make_inputs(1))
            runtime(make_inputs(5))
            assert len(list(runtime.stream(rows_of(make_inputs(9)), batch=4, wait_ms=1.0))) == 9
        assert profile.summary().calls >= 2
        assert governor.state.calls > 0
        runtime.stats().to_json()
        assert measure_energy(runtime, 4.0, root=tmp_path).exits


@pytest.mark.parametrize("slower", range(1, 11))
def test_a_throttled_device_is_answered_by_earlier_exits(tmp_path, slower):
    """Up to ten times slower after 800 calls, and as fast as before after 2,400."""
    clock, budget = FakeClock(), 3.0
    stages = np.array([0.2, 1.8, 3.0])
    bundle = write_bundle(tmp_path)
    family = fine_family(bundle)
    with Runtime(bundle, exits=False, threads=1) as runtime:
        fingerprint = runtime.machine.fingerprint
    table = CostTable("latency", tuple(np.cumsum(stages)), 4.5, fingerprint)
    bundle.write_exits(replace(family, costs={**family.costs, "latency": table}))
    with Runtime(bundle, threads=1) as runtime:
        governor = Governor(f"{budget}ms", clock=clock, hysteresis=0.05, audit=0.01, seed=2)
        runtime.governor = governor
        milliseconds = list(stages)
        slow_down(runtime, clock, milliseconds)
        spent, exits, moves = [], [], []
        for step, one in enumerate(rows_of(make_inputs(3600, seed=8))):
            if step in (800, 2400):
                milliseconds[:] = stages * (slower if step == 800 else 1)
            start = clock.now
            exits.append(int(runtime(one).exits[0]))
            spent.append((clock.now - start) * 1000)
            moves.append(governor.state.moves)
    averages = np.convolve(spent, np.ones(500) / 500, "valid")
    # From 500 calls after a change on, and after the one back too.
    assert np.abs(averages[1300:1901] - budget).max() <= 0.05 * budget * max(1, slower / 3)
    assert np.abs(averages[2900:] - budget).max() <= 0.05 * budget
    assert np.mean(spent) == pytest.approx(budget, rel=0.05)
    if slower > 1:
        assert np.mean(exits[1300:2400]) < np.mean(exits[300:800]) - 0.1
    # Hysteresis: the thresholds stand still for most calls.
    assert moves[-1] < len(spent) // 2

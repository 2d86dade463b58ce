"""That calls leave nothing behind and a closed runtime gives back what it took.

Resident memory of fresh processes. Each bound is far above the noise and far below what the control
beside it adds, which keeps a result a call, or a runtime a round.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MEBIBYTE = 2**20
CALLS, CALLS_BOUND = 5_000, 1.0
ROUNDS, ROUNDS_BOUND = 30, 3.0

PROGRAM = """
import gc, json, sys
import psutil
from edgeexit.runtime.runtime import Runtime
from tests.runtime.toy import make_inputs
folder, device, what, count, keep = sys.argv[1:]
process, kept, work = psutil.Process(), [], [make_inputs(n) for n in (1, 1, 1, 5)]

def calls(count):
    for number in range(count):
        result = runtime(work[number % len(work)])
        if keep == "keep":
            kept.append(result)

def rounds(count):
    for _ in range(count):
        runtime = Runtime(folder, target=device, threads=1)
        runtime(work[0])
        if keep == "keep":
            kept.append(runtime)
        else:
            runtime.close()
        del runtime
        gc.collect()

runtime = Runtime(folder, target=device, threads=1)
run = calls if what == "calls" else rounds
run(int(count) // 3)
before = process.memory_info().rss
run(int(count))
print(json.dumps(process.memory_info().rss - before))
"""


def _added(folder: Path, device: str, what: str, count: int, keep: str) -> float:
    """Return the MiB that ``count`` calls or rounds add, after a third as many to settle."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), device, what, str(count), keep],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return float(json.loads(done.stdout)) / MEBIBYTE


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_calls_leave_nothing_behind(toy_bundle, device):
    assert _added(toy_bundle.folder, device, "calls", CALLS, "drop") < CALLS_BOUND
    assert _added(toy_bundle.folder, device, "calls", CALLS, "keep") > CALLS_BOUND


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_a_closed_runtime_gives_back_what_it_took(toy_bundle, device):
    assert _added(toy_bundle.folder, device, "rounds", ROUNDS, "drop") < ROUNDS_BOUND
    assert _added(toy_bundle.folder, device, "rounds", ROUNDS, "keep") > ROUNDS_BOUND

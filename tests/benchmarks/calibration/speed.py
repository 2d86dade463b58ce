"""A family from a million records: time and memory, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np

from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate import ExitRecords, GateLayout, fit_family
from tests.benchmarks.calibration.page import Goal, Table
from tests.benchmarks.folders import ROOT
from tests.benchmarks.rows import Effort

TITLE = "A family from 1,000,000 samples and 8 exits"
NOTE = (
    "Features of ten numbers a gate, drawn at random, since only their number matters. One thread. "
    "Time is what the fit took of the processor, since the machine may be shared; the clock on "
    "the wall stands in brackets. Memory is the process's largest resident size, the records "
    "themselves (about 0.35 GiB) included."
)

SAMPLES, EXITS, FEATURES = 1_000_000, 8, 10
MOST_SECONDS, MOST_GIB = 30.0, 4.0
POLICIES = ("gain-soft", "opt-soft", "eero", "single")
CERTIFIED = "gain-soft, certified at one budget"


def run(effort: Effort, _: str) -> Table:
    """Return the table."""
    samples = SAMPLES // 50 if effort.quick else SAMPLES
    rows, goals, values = [], [], []
    for policy in (*POLICIES, CERTIFIED):
        effort.tell(f"speed: {policy}")
        command = [sys.executable, "-m", "tests.benchmarks.calibration.speed", policy, str(samples)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        took = f"{found['seconds']:.1f} s ({found['wall']:.0f} s)"
        rows.append([policy, took, f"{found['gib']:.2f} GiB"])
        values.append({"policy": policy, "samples": samples, **found})
        met = found["seconds"] < MOST_SECONDS and found["gib"] < MOST_GIB
        value = f"{found['seconds']:.1f} s, {found['gib']:.2f} GiB"
        goals.append(Goal(policy, value, f"< {MOST_SECONDS:g} s, < {MOST_GIB:g} GiB", met))
    return Table(TITLE, NOTE, ("policy", "time", "memory"), rows, goals, values)


def made_up_records(samples: int) -> ExitRecords:
    """Return records whose exits get better and surer with depth."""
    names = (
        "bias", "log_odds", "log_odds_squared", "margin", "entropy", "energy", "agree_previous",
        "previous_log_odds", "agree_log_odds", "agree_fraction",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    features = rng.standard_normal((samples, EXITS - 1, FEATURES), dtype=np.float32)
    features[:, :, 0] = 1
    ease = rng.standard_normal((samples, 1), dtype=np.float32)
    features[:, :, 1] += ease
    depth = np.linspace(0, 1, EXITS, dtype=np.float32)
    soft = 1 / (1 + np.exp(-(ease + depth + rng.standard_normal((samples, EXITS), np.float32))))
    quality = (rng.random((samples, EXITS), np.float32) < soft).astype(np.float32)
    gate = GateLayout("statistics", 1, names, (1.0,) + (0.0,) * FEATURES)
    return ExitRecords(features, soft, quality, "accuracy", None, gate, 1.0, "")


def measure(policy: str, samples: int) -> dict[str, float]:
    """Fit a family and return what this process took: processor and wall seconds, gibibytes."""
    import resource

    from edgeexit.budget import Budget
    from edgeexit.calibrate.guarantee import fit_certified_family
    from edgeexit.calibrate.promise import Promise

    records = made_up_records(samples)
    table = CostTable("flops", tuple((k + 1) / EXITS for k in range(EXITS)), 1.0)
    start, used = time.monotonic(), time.process_time()
    if policy == CERTIFIED:
        fit_certified_family(records, [table], Promise(0.95, True, (Budget(0.5),)))
    else:
        fit_family(records, [table], policy=policy)
    return {
        "seconds": time.process_time() - used,
        "wall": time.monotonic() - start,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))

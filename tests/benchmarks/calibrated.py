"""The demo model's calibrated exits, and its shares carried over to other models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.budget import Budget
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.runtime.profile import load_or_measure
from edgeexit.runtime.runtime import Runtime
from tests.benchmarks.folders import cache_folder
from tests.benchmarks.models import DEMO, open_bundle
from tests.benchmarks.rows import Effort

BUDGET = 0.5
"""Mean FLOPs a sample, as a fraction of the static model's."""

_HALVINGS = 80


_QUICK_SAMPLES = 500
"""Samples of a data set that a quick run looks at."""

_SHARES_OF = ("f32", "x86")
"""The configuration of the demo whose shares other models are forced to."""


@lru_cache
def demo_data(path: Path, effort: Effort) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of one of the demo's data sets: ``image`` and the labels ``y``."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {"image": file["image"], "y": file["y"]}
    return {name: array[:_QUICK_SAMPLES] if effort.quick else array
            for name, array in arrays.items()}  # fmt: skip


@lru_cache
def demo_exits(precision: str, device: str, effort: Effort) -> Path:
    """Calibrate the demo model on its calibration set; return the file of its exits."""
    effort.tell(f"calibrating the demo: {device} {precision}")
    bundle = open_bundle(DEMO, precision, effort.tell)
    file = cache_folder() / f"exits-{precision}-{device}.json"
    data = demo_data(demo.calibration_path(), effort)
    calibrate_exits(bundle, data, BUDGET, target=device, output=file)
    return file


def open_demo(
    precision: str, device: str, effort: Effort, *, max_batch: int | None = None
) -> Runtime:
    """Open the demo model at the budget, calibrated on this device in this precision."""
    bundle = open_bundle(DEMO, precision, effort.tell)
    exits = demo_exits(precision, device, effort)
    return Runtime(bundle, BUDGET, target=device, exits=exits, max_batch=max_batch)


def open_demo_at_half_the_time(precision: str, device: str, effort: Effort) -> Runtime:
    """Open the demo model at a latency budget: half of the static model's median time here."""
    bundle = open_bundle(DEMO, precision, effort.tell)
    with Runtime(bundle, target=device, exits=False) as runtime:
        table = load_or_measure(runtime).cost_table()
    budget = Budget(max(BUDGET * table.static, 1.001 * table.per_exit[0]), "latency")
    file = cache_folder() / f"exits-latency-{precision}-{device}.json"
    data = demo_data(demo.calibration_path(), effort)
    calibrate_exits(bundle, data, budget, target=device, output=file)
    return Runtime(bundle, budget, target=device, exits=file)


@lru_cache
def demo_shares(effort: Effort) -> tuple[float, ...]:
    """Return which fraction of the calibration set leaves at each exit at the budget."""
    with open_demo(*_SHARES_OF, effort) as runtime:
        exits = runtime(demo_data(demo.calibration_path(), effort)["image"]).exits
    return tuple(np.bincount(exits - 1, minlength=runtime.plan.exits) / len(exits))


def tilt(shares: Sequence[float], costs: Sequence[float], mean: float) -> npt.NDArray[np.float64]:
    """Return the shares ``p_k exp(t c_k)``, normalised, whose mean cost is ``mean``.

    Of all shares with that mean they are the nearest to ``p`` in relative entropy (Csiszar, 1975).
    """
    prior, cost = np.asarray(shares), np.asarray(costs)

    def tilted(strength: float) -> npt.NDArray[np.float64]:
        weights = prior * np.exp(strength * (cost - mean))
        return np.asarray(weights / weights.sum())

    low, high = -50.0, 50.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted(middle) @ cost < mean else (low, middle)
    return tilted(low)


def spread_exits(shares: npt.NDArray[np.float64], blocks: int, size: int) -> npt.NDArray[np.intp]:
    """Return ``(blocks * size,)`` exits from 1, as near to the shares as whole numbers allow.

    Every block holds about the same mix, in random order.
    """
    count = blocks * size
    edges = np.rint(np.cumsum(shares) * count).astype(np.intp)
    exits = np.searchsorted(edges, np.arange(count), side="right").astype(np.intp) + 1
    order = np.random.default_rng(0)
    return np.concatenate([order.permutation(exits[start::blocks]) for start in range(blocks)])

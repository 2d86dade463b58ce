"""The demo model's calibrated exits, and its shares carried over to other models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.bundle.bundle import Bundle
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.datasets import Dataset, load_dataset
from edgeexit.runtime.runtime import Runtime
from tests.benchmarks.folders import cache_folder
from tests.benchmarks.models import DEMO, Tell, open_bundle

BUDGET = 0.5
"""Mean FLOPs a sample, as a fraction of the static model's."""

_HALVINGS = 80


@lru_cache
def evaluation_data(bundle: Bundle) -> Dataset:
    """Return the demo's test set, as the bundle's inputs."""
    return load_dataset(demo.evaluation_path(), inputs=bundle.manifest.inputs)


@lru_cache
def demo_exits(precision: str, device: str, tell: Tell) -> Path:
    """Calibrate the demo model on its calibration set; return the file of its exits."""
    tell(f"calibrating the demo: {device} {precision}")
    bundle = open_bundle(DEMO, precision, tell)
    file = cache_folder() / f"exits-{precision}-{device}.json"
    calibrate_exits(bundle, demo.calibration_path(), BUDGET, target=device, output=file)
    return file


def open_demo(precision: str, device: str, tell: Tell, *, max_batch: int | None = None) -> Runtime:
    """Open the demo model at the budget, calibrated on this device in this precision."""
    bundle = open_bundle(DEMO, precision, tell)
    exits = demo_exits(precision, device, tell)
    return Runtime(bundle, BUDGET, target=device, exits=exits, max_batch=max_batch)


@lru_cache
def demo_shares(precision: str, device: str, tell: Tell) -> tuple[float, ...]:
    """Return which fraction of the calibration set leaves at each exit at the budget."""
    with open_demo(precision, device, tell) as runtime:
        data = load_dataset(demo.calibration_path(), inputs=runtime.bundle.manifest.inputs)
        exits = runtime(data.inputs).exits
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


def spread_exits(shares: npt.NDArray[np.float64], count: int, seed: int = 0) -> npt.NDArray[np.intp]:
    """Return ``(count,)`` exits from 1, shuffled, as near to the shares as whole numbers allow."""
    edges = np.rint(np.cumsum(shares) * count).astype(np.intp)
    exits = np.searchsorted(edges, np.arange(count), side="right") + 1
    return np.random.default_rng(seed).permutation(exits)

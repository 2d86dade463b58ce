"""The 95th percentile of a setting's calls, over the forecast from calls forced to each exit."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.runtime.call_times import LEVELS, CallTimes
from edgeexit.runtime.power.conditions import Conditions, read_conditions
from edgeexit.runtime.profile import golden_inputs
from edgeexit.runtime.runtime import Runtime
from tests.benchmarks.calibrated import demo_data, open_demo
from tests.benchmarks.rows import Effort, Row

BLOCK = 20
"""Calls a block; blocks of test images and of forced calls follow each other."""

BUDGETS = (0.4, 0.5, 0.7)
"""In fractions of the static model's FLOPs."""

LEVEL = 0.95

TITLE = "The 95th percentile of a call's time ÷ its forecast, batch 1"
NOTE = (
    "`calibrate --p95` forecasts the percentile from calls of one golden sample that are forced to "
    "each exit, and from the shares of the exits. Here such calls, an exit after the other, and "
    f"calls with test images take turns every {BLOCK}, so that what disturbs the machine disturbs "
    "both; the forecast is made with the shares that left. *Within* is the share of the calls with "
    "test images that took no longer than forecast, of which 95 % should. Against itself: the "
    "forecast from every second block of forced calls over that from the others."
)

Times = npt.NDArray[np.float64]


def run(effort: Effort) -> Iterator[Row]:
    """Yield a row a configuration and budget."""
    for device, precision in (("x86", "f32"), ("x86", "int8"), ("cpu", "f32")):
        effort.tell(f"95th percentile: {device} {precision}")
        with open_demo(precision, device, effort) as runtime:
            for budget in BUDGETS:
                runtime.budget = budget
                yield _row(runtime, budget, effort)


def _row(runtime: Runtime, budget: float, effort: Effort) -> Row:
    here = read_conditions()
    spent, exits, forced = _interleave(runtime, 5 if effort.quick else 150)
    shares = np.bincount(exits - 1, minlength=runtime.plan.exits) / len(exits)
    forecast = _forecast(runtime, forced, here).percentile(shares.tolist(), LEVEL)
    halves = [
        _forecast(runtime, forced[start::2], here).percentile(shares.tolist(), LEVEL)
        for start in (0, 1)
    ]
    found, within = float(np.quantile(spent, LEVEL)), float(np.mean(spent <= forecast))
    machine = runtime.machine
    return Row(
        f"tail.demo.{machine.device.name}.{machine.precision}.{budget}",
        f"demo ViT at budget {budget}, {machine.device.name} {machine.precision}",
        f"{found / forecast:.3f}; {found:.3f} of {forecast:.3f} ms; within: {100 * within:.1f} %",
        {"ratio": found / forecast, "p95_ms": found, "forecast_ms": forecast, "within": within},
        same=f"{halves[0] / halves[1]:.3f}",
    )


def _interleave(
    runtime: Runtime, blocks: int
) -> tuple[Times, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return milliseconds and exits ``(n,)`` of test images, and ``(blocks, K, calls)`` forced."""
    images = demo_data(demo.evaluation_path(), Effort())["image"]
    rows = np.random.default_rng(0).integers(0, len(images), (blocks, BLOCK))
    golden, count = golden_inputs(runtime, 1), runtime.plan.exits
    spent, exits = np.zeros((blocks, BLOCK)), np.zeros((blocks, BLOCK), np.int64)
    forced = np.zeros((blocks, count, BLOCK // count))
    # Block -1 warms up: what it writes is written over by the last one.
    for block in range(-1, blocks):
        for place, row in enumerate(rows[block]):
            sample = {"image": images[row : row + 1]}
            start = perf_counter_ns()
            result = runtime(sample)
            spent[block, place] = perf_counter_ns() - start
            exits[block, place] = result.exits[0]
        for place in range(BLOCK // count):
            for exit_number in range(1, count + 1):
                start = perf_counter_ns()
                runtime.run_to(golden, exit_number)
                forced[block, exit_number - 1, place] = perf_counter_ns() - start
    return spent.ravel() / 1e6, exits.ravel(), forced / 1e6


def _forecast(runtime: Runtime, forced: npt.NDArray[np.float64], here: Conditions) -> CallTimes:
    """Return the times of forced calls ``(blocks, K, calls)`` as calibration keeps them."""
    every = np.moveaxis(forced, 1, 0).reshape(forced.shape[1], -1)
    quantiles = np.quantile(every, np.linspace(0.0, 1.0, LEVELS), axis=1).T
    rows = tuple(tuple(float(value) for value in row) for row in quantiles)
    return CallTimes(runtime.machine.fingerprint, every.shape[1], rows, here)

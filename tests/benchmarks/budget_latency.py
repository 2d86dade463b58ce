"""Mean latency at half the FLOPs, over the static model's, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
from tests.benchmarks.calibrated import (
    BUDGET,
    demo_data,
    demo_shares,
    open_demo,
    open_demo_at_half_the_time,
    spread_exits,
    tilt,
)
from tests.benchmarks.measure import Comparison, turn
from tests.benchmarks.models import VIT, open_bundle
from tests.benchmarks.rows import Effort, Row

BLOCK = 20
"""Samples a block: enough to hold the mix of exits."""

TITLE = f"Mean latency at budget {BUDGET}, batch 1"
NOTE = (
    "The runtime's whole call over that of the static model (no early exits, compiled for batch "
    f"1), in turn every {BLOCK} samples: an app runs no other model between two answers. "
    "The demo runs on its test set, calibrated at half the FLOPs "
    "and, in rows of their own, at half the static model's measured milliseconds; the "
    "ViT-S/16 is forced to the demo's shares, tilted to a mean FLOPs cost of exactly the budget. "
    "Ratio of the sums of blocks of samples, `median [95 % interval]`; *of minima* weighs each "
    "exit's shortest time by its share."
)

LIMIT = 0.55
_RUNTIME, _STATIC, _AGAIN = "runtime", "static", "again"

Answer = Callable[[npt.NDArray[Any], int], int]
"""Answers a sample ``(1, ...)``, given its forced exit, and returns the exit taken."""


def run(effort: Effort) -> Iterator[Row]:
    """Yield the ratio on the demo and on the ViT-S/16."""
    for device, precision in (("x86", "f32"), ("x86", "bf16"), ("x86", "int8"), ("cpu", "f32")):
        effort.tell(f"mean latency: demo {device} {precision}")
        with open_demo(precision, device, effort) as runtime:
            yield _demo("demo", "demo ViT", runtime, effort)
        with open_demo_at_half_the_time(precision, device, effort) as runtime:
            yield _demo("demo-ms", "demo ViT at half the static model's time", runtime, effort)
    for device, precision in (("x86", "f32"), ("x86", "bf16"), ("x86", "int8"), ("cpu", "f32")):
        effort.tell(f"mean latency: vit {device} {precision}")
        yield _vit(device, precision, effort)


def _demo(name: str, what: str, runtime: Runtime, effort: Effort) -> Row:
    images = demo_data(demo.evaluation_path(), effort)["image"]
    count = 60 if effort.quick else 1200
    rows = np.random.default_rng(0).integers(0, len(images), count)
    samples = [images[row : row + 1] for row in rows]

    def answer(sample: npt.NDArray[Any], _: int) -> int:
        return int(runtime(sample).exits[0])

    times, exits = _interleave(runtime, samples, np.zeros(count, np.intp), answer)
    machine = runtime.machine
    return _row(name, f"{what}, {machine.device.name} {machine.precision}", runtime, times, exits)


def _vit(device: str, precision: str, effort: Effort) -> Row:
    bundle = open_bundle(VIT, precision, effort.tell)
    with Runtime(bundle, target=device, exits=False) as runtime:
        shares = tilt(demo_shares(effort), runtime.plan.costs, BUDGET)
        count = BLOCK if effort.quick else 6 * BLOCK
        exits = spread_exits(shares, count // BLOCK, BLOCK)
        pool = VIT.random_inputs(4)
        samples = [pool[i % 4 : i % 4 + 1] for i in range(count)]

        def answer(sample: npt.NDArray[Any], wanted: int) -> int:
            return int(runtime.run_to(sample, wanted).exits[0])

        times, taken = _interleave(runtime, samples, exits, answer)
        return _row("vit", f"ViT-S/16, {device} {precision}", runtime, times, taken)


def _interleave(
    runtime: Runtime,
    samples: list[npt.NDArray[Any]],
    forced: npt.NDArray[np.intp],
    answer: Answer,
) -> tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.intp]]:
    """Return ``(n,)`` milliseconds a contender, and the exits taken."""
    opened = [WholeModel.of_bundle(runtime.bundle, runtime.machine, batch=1) for _ in range(2)]
    try:
        calls = {_STATIC: opened[0], _AGAIN: opened[1]}
        names = [_RUNTIME, _STATIC, _AGAIN]
        times = {name: np.zeros(len(samples)) for name in names}
        taken = np.zeros(len(samples), np.intp)
        for model in opened:
            model(samples[0])
        runtime(samples[0])
        for number, start in enumerate(range(0, len(samples), BLOCK)):
            for name in turn(names, number):
                for row in range(start, start + BLOCK):
                    begin = perf_counter_ns()
                    if name == _RUNTIME:
                        taken[row] = answer(samples[row], int(forced[row]))
                    else:
                        calls[name](samples[row])
                    times[name][row] = (perf_counter_ns() - begin) / 1e6
    finally:
        for model in opened:
            model.close()
    return times, taken


def _row(
    name: str,
    what: str,
    runtime: Runtime,
    times: dict[str, npt.NDArray[np.float64]],
    exits: npt.NDArray[np.intp],
) -> Row:
    sums = {key: spent.reshape(-1, BLOCK).sum(axis=1) for key, spent in times.items()}
    found = Comparison.of(sums[_RUNTIME], sums[_STATIC], sums[_AGAIN])
    taken = [exits == k for k in range(1, runtime.plan.exits + 1)]
    shares = [float(mask.mean()) for mask in taken]
    shortest = [times[_RUNTIME][mask].min() if mask.any() else 0.0 for mask in taken]
    minima = float(np.dot(shares, shortest) / times[_STATIC].min())
    flops = float(np.dot(shares, runtime.plan.costs))
    means = {key: float(spent.mean()) for key, spent in times.items()}
    return Row(
        f"budget-latency.{name}.{runtime.machine.device.name}.{runtime.machine.precision}",
        what,
        f"{found.ratio.median:.3f} [{found.ratio.low:.3f}, {found.ratio.high:.3f}], {minima:.3f}; "
        f"FLOPs {flops:.3f}; {means[_RUNTIME]:.3f} of {means[_STATIC]:.3f} ms",
        {
            **found.as_values(),
            "of_minima": minima,
            "of_means": means[_RUNTIME] / means[_STATIC],
            "flops": flops,
            "shares": shares,
            "mean_ms": means[_RUNTIME],
            "static_mean_ms": means[_STATIC],
        },
        same=f"{found.same.median:.3f} [{found.same.low:.3f}, {found.same.high:.3f}]",
        wanted=f"≤ {LIMIT}",
        met=found.ratio.median <= LIMIT,
    )

"""Batch 32 at half the FLOPs: a call over the stages it runs, at the sizes they run at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.runtime.compaction import SizeChoice
from edgeexit.runtime.profile import measure_profile
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
from tests.benchmarks.calibrated import (
    BUDGET,
    demo_data,
    demo_shares,
    open_demo,
    spread_exits,
    tilt,
)
from tests.benchmarks.measure import Comparison, interleave, spread_text
from tests.benchmarks.models import VIT, open_bundle
from tests.benchmarks.rows import Effort, Row

TITLE = f"Batch 32 at budget {BUDGET}"
NOTE = (
    "A call of the runtime (gates, shrinking batches, results) over the sum of its stages' "
    "pre-bound calls, each at the bucket that holds the samples left there; beside it that sum "
    "against itself. Then the same call over the static model compiled for a batch of 32, and the "
    "call at sizes chosen by a profile of all buckets (in brackets: the slots of each stage) over "
    "the call at the smallest sizes."
)

BATCH = 32
LIMIT = 1.05

_CALL, _STAGES, _AGAIN, _STATIC = "call", "stages", "again", "static"
_CHOSEN, _SAME = "chosen", "call again"

Call = Callable[[], object]


def run(effort: Effort) -> Iterator[Row]:
    """Yield the ratios on the demo and on the ViT-S/16."""
    for device, precision in (("x86", "f32"), ("x86", "int8"), ("cpu", "f32")):
        effort.tell(f"batch {BATCH}: demo {device} {precision}")
        with open_demo(precision, device, effort, max_batch=BATCH) as runtime:
            images = demo_data(demo.evaluation_path(), effort)["image"][:BATCH]
            exits = runtime(images).exits
            yield from _rows(runtime, images, exits, partial(runtime, images), effort)
            yield _chosen_row(runtime, partial(runtime, images), effort)
    for device, precision in (("x86", "f32"), ("x86", "int8")):
        if effort.quick:
            return
        effort.tell(f"batch {BATCH}: vit {device} {precision}")
        bundle = open_bundle(VIT, precision, effort.tell)
        with Runtime(bundle, target=device, exits=False, max_batch=BATCH) as runtime:
            shares = tilt(demo_shares(effort), runtime.plan.costs, BUDGET)
            forced = spread_exits(shares, 1, BATCH)
            images = VIT.random_inputs(BATCH)
            call = partial(runtime.run_to, images, forced)
            yield from _rows(runtime, images, forced, call, effort)
            yield _chosen_row(runtime, call, effort)


def _rows(
    runtime: Runtime,
    images: npt.NDArray[Any],
    exits: npt.NDArray[Any],
    call: Call,
    effort: Effort,
) -> Iterator[Row]:
    path = surviving_buckets(exits, runtime.plan.exits, runtime.machine.buckets)
    stages = _stage_calls(runtime, images, path)
    static = WholeModel.of_bundle(runtime.bundle, runtime.machine, batch=BATCH)
    try:
        heavy = runtime.bundle.manifest.name == VIT.name
        times = interleave(
            {_CALL: call, _STAGES: stages, _AGAIN: stages, _STATIC: lambda: static(images)},
            seconds=effort.seconds(20.0 if heavy else 6.0),
            least=effort.least(8 if heavy else 30),
            warm=1,
        )
    finally:
        static.close()
    name = runtime.bundle.manifest.name
    where = f"{runtime.machine.device.name} {runtime.machine.precision}"
    key = f"batch-cost.{name}.{where.replace(' ', '.')}"
    found = Comparison.of(times[_CALL], times[_STAGES], times[_AGAIN])
    yield Row(
        f"{key}.stages",
        f"{name}, {where}: call ÷ its stages",
        f"{found.text()}; buckets {', '.join(map(str, path))}; call {spread_text(times[_CALL])}",
        {**found.as_values(), "buckets": ", ".join(map(str, path))},
        same=found.same_text(),
        wanted=f"≤ {LIMIT}",
        met=found.ratio.median <= LIMIT,
    )
    ratio = Comparison.of(times[_CALL], times[_STATIC], times[_STATIC])
    yield Row(
        f"{key}.static",
        f"{name}, {where}: call ÷ static model",
        f"{ratio.text()}; FLOPs {np.take(runtime.plan.costs, exits - 1).mean():.3f}",
        {"median": ratio.ratio.median, "of_minima": ratio.ratio.of_minima},
    )


def _chosen_row(runtime: Runtime, call: Call, effort: Effort) -> Row:
    """Return the call at the sizes that a profile taken here chooses, over the smallest sizes."""
    heavy = runtime.bundle.manifest.name == VIT.name
    (engines,) = runtime._engines
    seconds = effort.seconds(8.0 if heavy else 2.0)
    profile = measure_profile(runtime, engines.buckets, seconds)
    smallest = SizeChoice(engines.buckets)
    chosen = SizeChoice(engines.buckets, profile.batches)

    def at(sizes: SizeChoice) -> Call:
        def sized() -> None:
            engines.sizes = sizes
            call()

        return sized

    times = interleave(
        {_CALL: at(smallest), _CHOSEN: at(chosen), _SAME: at(smallest)},
        seconds=effort.seconds(20.0 if heavy else 6.0),
        least=effort.least(8 if heavy else 30),
        warm=1,
    )
    found = Comparison.of(times[_CHOSEN], times[_CALL], times[_SAME])
    path = [_slots(runtime, at(sizes)) for sizes in (chosen, smallest)]
    name = runtime.bundle.manifest.name
    where = f"{runtime.machine.device.name} {runtime.machine.precision}"
    return Row(
        f"batch-cost.{name}.{where.replace(' ', '.')}.chosen",
        f"{name}, {where}: call at chosen sizes ÷ at the smallest",
        f"{found.text()} ({path[0]} instead of {path[1]})",
        {**found.as_values(), "slots": path[0], "smallest": path[1]},
        same=found.same_text(),
    )


def _slots(runtime: Runtime, call: Call) -> str:
    """Return the slots at which a call runs each stage."""
    with runtime.profile() as profile:
        call()
    return ", ".join(str(stage.slots) for stage in profile.summary().stages if stage.runs)


def surviving_buckets(
    exits: npt.NDArray[Any], count: int, buckets: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the bucket each stage runs at, for as many stages as run.

    Args:
        exits: ``(n,)`` exits taken, from 1.
        count: The number K of stages.
        buckets: The sizes there are, ascending.
    """
    path: list[int] = []
    for stage in range(1, count + 1):
        left = int((exits >= stage).sum())
        if not left:
            break
        fits = min(bucket for bucket in buckets if bucket >= left)
        path.append(min([fits, *path[-1:]]))
    return tuple(path)


def _stage_calls(runtime: Runtime, images: npt.NDArray[Any], path: tuple[int, ...]) -> Call:
    """Return a call that runs each stage once at its bucket, on the runtime's own buffers."""
    runs = []
    for index, bucket in enumerate(path):
        with runtime.lane(images[:bucket]) as lane:
            runs.append(lane.runs[index])

    def call() -> None:
        for run in runs:
            run()

    return call

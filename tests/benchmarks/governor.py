"""The governor on a shift of the data and on a slower device, and streams against batches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.budget import Budget
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.benchmarks.calibrated import BUDGET, demo_data, demo_exits
from tests.benchmarks.measure import Comparison, Excess, Times, interleave, spread_text
from tests.benchmarks.models import DEMO, open_bundle
from tests.benchmarks.rows import Effort, Row

TITLE = "Governor and streams"
NOTE = (
    "The demo, one image a call, one thread. A shift: the test images, then the same with noise "
    "and half the contrast; the largest distance from the budget of any mean over 500 consecutive "
    "calls after it, the first of which begins at the shift. Slower: every stage really runs three "
    "times from the middle on; the budget is 1.3 times the time of exit 1 then. Mean "
    "milliseconds of processor time over it in that half, its first 100 calls left out. Streams: "
    "2,048 images, a stream of batches of 32 over plain calls of 32, at the same exits."
)

WINDOW = 500
NEAR = 0.015
SLOWER = 3
CLOCK = time.process_time
"""The governor's clock and ours, where a device gets slower: on a busy machine others' work would
otherwise be what is measured."""

SETTLING = 100
ROOM = 1.3
"""The budget over the mean time of exit 1 on the slowed device, below which nothing can be held."""

BATCH = 32

Images = npt.NDArray[np.uint8]


def run(effort: Effort) -> Iterator[Row]:
    """Yield the rows of the governor, then those of the streams."""
    images, labels = _images(effort)
    for device in ("x86", "cpu"):
        effort.tell(f"governor: a shift, {device}")
        yield from _shift_rows(device, images, labels, effort)
        effort.tell(f"governor: a device {SLOWER} times slower, {device}")
        yield from _slower_rows(device, images, effort)
        yield _overhead_row(device, images, effort)
        effort.tell(f"streams: {device}")
        yield _stream_row(device, images, effort)


def shifted(images: Images, seed: int = 0) -> Images:
    """Return the images at half the contrast, with normal noise of a quarter of their spread."""
    spread, middle = images.std(), images.mean()
    noise = np.random.default_rng(seed).standard_normal(images.shape)
    changed = middle + (images - middle) / 2 + 0.25 * spread * noise
    faint: Images = np.rint(np.clip(changed, 0, 255)).astype(np.uint8)
    return faint


def worst_window(costs: npt.NDArray[np.float64], budget: float, window: int = WINDOW) -> float:
    """Return how far the mean of any ``window`` consecutive costs is from the budget at most."""
    means = np.convolve(costs, np.ones(window) / window, "valid")
    return float(np.abs(means - budget).max())


def _open(device: str, effort: Effort, max_batch: int | None = None) -> Runtime:
    """Open the demo with one thread: many would wait for each other on a busy machine."""
    bundle = open_bundle(DEMO, "f32", effort.tell)
    exits = demo_exits("f32", device, effort)
    return Runtime(bundle, BUDGET, target=device, exits=exits, max_batch=max_batch, threads=1)


def _images(effort: Effort) -> tuple[Images, npt.NDArray[Any]]:
    data = demo_data(demo.evaluation_path(), effort)
    order = np.random.default_rng(0).permutation(len(data["y"]))
    return data["image"][order], data["y"][order]


def _shift_rows(
    device: str, images: Images, labels: npt.NDArray[Any], effort: Effort
) -> Iterator[Row]:
    count = min(1500, len(images))
    window = min(WINDOW, count // 3)
    before, after = images[:count], shifted(images[:count])
    for name, governor in (
        ("fixed thresholds", None),
        ("governor", Governor(BUDGET, seed=0)),
    ):
        with _open(device, effort) as runtime:
            runtime.governor = governor
            found = [[runtime(image[None]) for image in part] for part in (before, after)]
        costs = [np.array([result.cost for result in part]) for part in found]
        right = [
            float(np.mean([r.labels[0] == y for r, y in zip(part, labels, strict=False)]))
            for part in found
        ]
        worst = [worst_window(part, BUDGET, window) for part in costs]
        default = governor is not None
        yield Row(
            f"governor.shift.{device}.{name.replace(' ', '-')}",
            f"{device}: shift of the data, {name}",
            f"{worst[1]:.4f} after, {worst[0]:.4f} before; mean {costs[0].mean():.3f} then "
            f"{costs[1].mean():.3f}; accuracy {right[0]:.4f} then {right[1]:.4f}",
            {
                "worst_before": worst[0], "worst_after": worst[1],
                "mean_before": float(costs[0].mean()), "mean_after": float(costs[1].mean()),
                "accuracy_before": right[0], "accuracy_after": right[1], "calls": count,
            },
            wanted=f"≤ {NEAR}" if default else None,
            met=worst[1] <= NEAR if default else None,
        )  # fmt: skip


def _slower_rows(device: str, images: Images, effort: Effort) -> Iterator[Row]:
    count = min(1000, len(images) // 2)
    with _open(device, effort) as runtime:
        budget = ROOM * _cheapest_ms(runtime, images, effort)
        for name, governor in (
            ("fixed thresholds", None),
            ("governor", Governor(Budget(budget, "latency"), clock=CLOCK, seed=0)),
        ):
            # About what the budget in milliseconds comes to before.
            runtime.budget = 0.98
            runtime.governor = governor
            spent = _timed_calls(runtime, images[:count])
            with _slowed(runtime, images[:1]):
                slow = _timed_calls(runtime, images[count : 2 * count])
            side = "" if governor is None else governor.state.saturated
            runtime.governor = None
            held = float(slow[min(SETTLING, count // 2) :].mean() / budget)
            governed = governor is not None
            yield Row(
                f"governor.slower.{device}.{name.replace(' ', '-')}",
                f"{device}: {SLOWER} times slower, {name}",
                f"{held:.3f} of {budget:.3f} ms, {float(spent.mean() / budget):.3f} before; the "
                f"first {SETTLING} calls {float(slow[:SETTLING].mean() / budget):.3f}"
                + (f"; in the end at the {side} setting" if side else ""),
                {
                    "over_budget": held, "before": float(spent.mean() / budget),
                    "first_calls": float(slow[:SETTLING].mean() / budget),
                    "budget_ms": budget, "calls": 2 * count, "saturated": side,
                },
                wanted="≤ 1.02" if governed else None,
                met=held <= 1.02 if governed else None,
            )  # fmt: skip


def _overhead_row(device: str, images: Images, effort: Effort) -> Row:
    image = images[:1]
    with (
        _open(device, effort) as plain,
        _open(device, effort) as governed,
        _open(device, effort) as again,
    ):
        for runtime in (plain, governed, again):
            runtime.budget = None
        governed.governor = Governor(1.0, audit=0.0)
        # At the last exit in all three: the same stages run.
        calls: dict[str, Callable[[], object]] = {
            "governed": partial(governed, image),
            "plain": partial(plain, image),
            "again": partial(again, image),
        }
        for _ in range(20):
            governed(image)
        times = interleave(calls, seconds=effort.seconds(4.0), least=effort.least(200), warm=50)
    cost = Excess.of(times["governed"], times["plain"])
    same = Excess.of(times["again"], times["plain"])
    return Row(
        f"governor.cost.{device}",
        f"{device}: a governed call less a plain one",
        f"{cost.text()}; call {spread_text(times['plain'])}",
        {"median_us": cost.median, "low_us": cost.low, "high_us": cost.high},
        same=same.text(),
    )


def _stream_row(device: str, images: Images, effort: Effort) -> Row:
    images = images[: 2048 // BATCH * BATCH]
    with _open(device, effort, BATCH) as runtime:

        def batches() -> None:
            for start in range(0, len(images), BATCH):
                runtime(images[start : start + BATCH])

        def stream() -> None:
            for _ in runtime.stream(images, batch=BATCH, depth=4):
                pass

        runs = {name: _stage_runs(runtime, call) for name, call in
                (("batches", batches), ("stream", stream))}  # fmt: skip
        times: dict[str, Times] = interleave(
            {"stream": stream, "batches": batches, "again": batches},
            seconds=effort.seconds(12.0),
            least=effort.least(8),
            warm=1,
        )
    found = Comparison.of(times["stream"], times["batches"], times["again"])
    rate = len(images) / np.median(times["stream"]) * 1000
    return Row(
        f"governor.stream.{device}",
        f"{device}: stream ÷ plain batches of {BATCH}",
        f"{found.text()}; {rate:.0f} images/s; stage runs {runs['stream']} for {runs['batches']}",
        {**found.as_values(), "images_per_second": float(rate), "runs": runs["stream"],
         "batch_runs": runs["batches"]},
        same=found.same_text(),
    )  # fmt: skip


def _stage_runs(runtime: Runtime, call: Callable[[], None]) -> str:
    with runtime.profile() as profile:
        call()
    return " + ".join(str(stage.runs) for stage in profile.summary().stages)


def _timed_calls(runtime: Runtime, images: Images) -> npt.NDArray[np.float64]:
    """Return the milliseconds of processor time of one call an image."""
    spent = []
    for image in images:
        start = CLOCK()
        runtime(image[None])
        spent.append((CLOCK() - start) * 1000)
    return np.array(spent)


def _cheapest_ms(runtime: Runtime, images: Images, effort: Effort) -> float:
    """Return the mean time of a call that leaves at exit 1 of the slowed device."""
    image = images[:1]
    with _slowed(runtime, image):
        call = partial(runtime.run_to, image, 1)
        rounds = effort.least(1000)
        start = CLOCK()
        for _ in range(rounds):
            call()
    return (CLOCK() - start) * 1000 / rounds


@contextlib.contextmanager
def _slowed(runtime: Runtime, image: Images) -> Iterator[None]:
    """Let every stage of single samples really run several times."""
    with runtime.lane(image) as lane:
        runs = lane.runs
    lane.runs = [partial(_several, run) for run in runs]
    try:
        yield
    finally:
        lane.runs = runs


def _several(run: Callable[[], None]) -> None:
    for _ in range(SLOWER):
        run()

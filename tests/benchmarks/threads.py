"""Threads that share one runtime: their throughput, and whether they answer as one does."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.runtime.result import Result
from edgeexit.runtime.runtime import Runtime
from edgeexit.targets.processor import available_threads
from tests.benchmarks.calibrated import (
    BUDGET,
    demo_data,
    demo_exits,
    demo_shares,
    spread_exits,
    tilt,
)
from tests.benchmarks.measure import Comparison, interleave, spread_text
from tests.benchmarks.models import DEMO, VIT, open_bundle
from tests.benchmarks.rows import Effort, Row

TITLE = "Threads"
NOTE = (
    "One runtime, one engine thread a call, single images at half the FLOPs. Throughput: two "
    "threads that each answer a round's images, over one thread that answers them (2 is the most "
    "that two cores can give); beside it one thread against itself, and in brackets the same for "
    "threads that only compute a checksum: what the machine has to give. OpenVINO runs one call at "
    "a time in a compiled stage, so it is shown with one replica of the stages and with two. Then "
    "8 threads of 10,000 calls each: answers (logits, exits, scores) that differ in a bit from the "
    "serial ones."
)

LIMIT = 1.8
_PAIR = 2
_REPLICAS = {"x86": (1, 2), "cpu": (1,)}
"""Copies of the engines: OpenVINO runs one call at a time in each."""
_CROWD, _CALLS = 8, 10_000
_ROUND = {DEMO.name: 64, VIT.name: 8}
"""Images a thread and round."""

_ONE, _TWO, _AGAIN, _SUM, _SUMS = "one", "two", "again", "checksum", "checksums"
_MEBIBYTES = bytes(32 << 20)

Call = Callable[[int], Result]
"""Answers the image at a place."""


def run(effort: Effort) -> Iterator[Row]:
    """Yield the throughput of two threads, then the answers of eight."""
    for device, precision in (("x86", "f32"), ("x86", "int8"), ("cpu", "f32")):
        effort.tell(f"threads: demo {device} {precision}")
        for replicas in _REPLICAS[device]:
            with _open_demo(precision, device, effort, replicas) as runtime:
                images = demo_data(demo.evaluation_path(), effort)["image"][:, None]
                answer = partial(_answer, runtime, images)
                yield _throughput(runtime, answer, replicas, effort)
    for device, precision in (("x86", "f32"), ("x86", "int8"), ("cpu", "f32")):
        if not effort.quick:
            effort.tell(f"threads: vit {device} {precision}")
            for replicas in _REPLICAS[device]:
                yield _vit_throughput(device, precision, replicas, effort)
    for device in ("x86", "cpu"):
        effort.tell(f"threads: {_CROWD} of them, demo {device}")
        with _open_demo("f32", device, effort) as runtime:
            yield _equality(runtime, demo_data(demo.evaluation_path(), effort)["image"], effort)


def _open_demo(precision: str, device: str, effort: Effort, replicas: int = 1) -> Runtime:
    bundle = open_bundle(DEMO, precision, effort.tell)
    exits = demo_exits(precision, device, effort)
    return Runtime(bundle, BUDGET, target=device, exits=exits, threads=1, replicas=replicas)


def _answer(runtime: Runtime, images: npt.NDArray[Any], place: int) -> Result:
    return runtime(images[place])


def _vit_throughput(device: str, precision: str, replicas: int, effort: Effort) -> Row:
    bundle = open_bundle(VIT, precision, effort.tell)
    with Runtime(bundle, target=device, exits=False, threads=1, replicas=replicas) as runtime:
        shares = tilt(demo_shares(effort), runtime.plan.costs, BUDGET)
        exits = spread_exits(shares, 1, _ROUND[VIT.name])
        image = VIT.random_inputs(1)
        return _throughput(
            runtime, lambda i: runtime.run_to(image, int(exits[i])), replicas, effort
        )


def _throughput(runtime: Runtime, call: Call, replicas: int, effort: Effort) -> Row:
    name = runtime.bundle.manifest.name
    count = _ROUND[name]

    def answer(_: object = None) -> None:
        for place in range(count):
            call(place)

    with ThreadPoolExecutor(_PAIR) as threads:
        times = interleave(
            {
                _ONE: answer,
                _TWO: lambda: list(threads.map(answer, range(_PAIR))),
                _AGAIN: answer,
                _SUM: _checksum,
                _SUMS: lambda: list(threads.map(_checksum, range(_PAIR))),
            },
            seconds=effort.seconds(8.0 if name == DEMO.name else 20.0),
            least=effort.least(12),
        )
    found = Comparison.of(_PAIR * times[_ONE], times[_TWO], _PAIR * times[_ONE])
    same = Comparison.of(times[_AGAIN], times[_ONE], times[_ONE])
    given = float(np.median(_PAIR * times[_SUM] / times[_SUMS]))
    judged = available_threads() >= _PAIR and replicas == _REPLICAS[runtime.machine.device.name][-1]
    where = f"{runtime.machine.device.name} {runtime.machine.precision}"
    return Row(
        f"threads.{name}.{where.replace(' ', '.')}.replicas-{replicas}",
        f"{name}, {where}, replicas {replicas}: throughput of {_PAIR} threads ÷ one",
        f"{found.text()} ({given:.3f}); one thread {spread_text(times[_ONE] / count)} an image",
        {**found.as_values(), "checksums": given, "cores": available_threads()},
        same=same.text(),
        wanted=f"≥ {LIMIT}" if judged else None,
        met=found.ratio.median >= LIMIT if judged else None,
    )


def _checksum(_: object = None) -> int:
    """Compute without the interpreter's lock, and without an engine."""
    return zlib.crc32(_MEBIBYTES)


def _equality(runtime: Runtime, images: npt.NDArray[Any], effort: Effort) -> Row:
    calls = _CALLS // 25 if effort.quick else _CALLS
    serial = [_bits(runtime(image[None])) for image in images]
    with ThreadPoolExecutor(_CROWD) as threads:
        wrong = sum(threads.map(partial(_wrong, runtime, images, serial, calls), range(_CROWD)))
    device = runtime.machine.device.name
    return Row(
        f"threads.equal.{device}",
        f"demo, {device} f32: {_CROWD} threads of {calls:,} calls",
        f"{wrong} of {_CROWD * calls:,} answers differ from the serial ones",
        {"wrong": wrong, "calls": _CROWD * calls},
        wanted="0",
        met=wrong == 0,
    )


def _wrong(
    runtime: Runtime,
    images: npt.NDArray[Any],
    serial: list[tuple[bytes, ...]],
    calls: int,
    number: int,
) -> int:
    """Count answers that are not the serial ones, in an order of this thread's own."""
    places = np.random.default_rng(number).integers(0, len(images), calls).tolist()
    return sum(_bits(runtime(images[place][None])) != serial[place] for place in places)


def _bits(result: Result) -> tuple[bytes, ...]:
    logits: Any = result.logits
    return logits.tobytes(), result.exits.tobytes(), result.scores.tobytes()

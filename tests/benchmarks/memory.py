"""Memory: calls that must add none, runtimes that give theirs back, stages against the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from tests.benchmarks.calibrated import BUDGET, demo_exits
from tests.benchmarks.models import CNN, DEMO, VIT, Model, open_bundle
from tests.benchmarks.processes import ask
from tests.benchmarks.rows import Effort, Row

TITLE = "Memory"
NOTE = (
    "Resident memory of fresh processes, one engine thread. *Calls*: the demo at half the FLOPs, "
    "test images one by one and a batch now and then; the slope of memory over the calls (least "
    "squares, the first fifth left out; its standard error allows for residuals that follow each "
    "other). Anything that a call left behind would take 16 bytes or more. *Open and close*: a "
    "runtime opened, asked once and closed. *Held*: what opening and three answers at batch 1 add, "
    "stages over the graph with all exits in one piece (in brackets: over the static model); "
    "medians of processes."
)

SLOPE_LIMIT = 1.0
"""Bytes a call."""

REOPEN_LIMIT = 1.1
"""Memory after all rounds over memory after the first tenth."""

HELD_LIMIT = 1.1

_CALLS, _ROUNDS = 100_000, 500
_DROPPED = 0.2
_BYTES_A_MEBIBYTE = 2**20

_CALLING = """
import json, sys
import numpy, psutil
from edgeexit.runtime.runtime import Runtime
path, exits, device, data, budget, calls = sys.argv[1:]
images = numpy.load(data)["image"]
process, sizes = psutil.Process(), []
with Runtime(path, float(budget), target=device, exits=exits, threads=1) as runtime:
    for rows in range(1, 33):
        runtime(images[:rows])
    for number in range(int(calls)):
        place = number % (len(images) - 32)
        runtime(images[place : place + (1 if number % 100 else number // 100 % 32 + 1)])
        if number % (int(calls) // 200) == 0:
            sizes.append(process.memory_info().rss)
print(json.dumps(sizes))
"""
_REOPENING = """
import gc, json, sys
import numpy, psutil
from edgeexit.runtime.runtime import Runtime
path, device, data, rounds = sys.argv[1:]
image = numpy.load(data)["image"][:1]
process, sizes = psutil.Process(), []
for _ in range(int(rounds)):
    with Runtime(path, target=device, exits=False, threads=1) as runtime:
        runtime(image)
    del runtime
    gc.collect()
    sizes.append(process.memory_info().rss)
print(json.dumps(sizes))
"""
_HOLDING = """
import gc, json, sys
import numpy, psutil
from edgeexit.bundle.bundle import Bundle
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
path, device, kind, shape, dtype = sys.argv[1:]
sample = numpy.zeros((1, *json.loads(shape)), dtype)
bundle = Bundle.open(path)
machine = Machine.of(bundle, device, 1)
__import__({"cpu": "onnxruntime", "x86": "openvino"}[device])
gc.collect()
process = psutil.Process()
before = process.memory_info().rss
if kind == "staged":
    model = Runtime(bundle, target=device, exits=False, threads=1)
else:
    model = WholeModel.of_bundle(bundle, machine, kind, batch=1)
for _ in range(3):
    model(sample)
gc.collect()
print(json.dumps(process.memory_info().rss - before))
"""


def run(effort: Effort) -> Iterator[Row]:
    """Yield the slope, the growth by opening, and what stages hold, on both engines."""
    for device in ("x86", "cpu"):
        effort.tell(f"memory: calls {device}")
        yield _calls(device, effort)
    for device in ("x86", "cpu"):
        effort.tell(f"memory: open and close {device}")
        yield _reopening(device, effort)
    for model in (DEMO,) if effort.quick else (VIT, CNN, DEMO):
        for device, precision in (
            ("x86", "f32"), ("x86", "int8"), ("cpu", "f32"), ("cpu", "int8"),
        ):  # fmt: skip
            effort.tell(f"memory: {model.name} {device} {precision}")
            yield _held(model, device, precision, effort)


def slope_of(calls: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the slope of bytes over calls and its standard error.

    Residuals of memory follow each other, so the error is that of least squares widened by
    ``sqrt((1 + r) / (1 - r))``, r their correlation at lag 1 (Bartlett, 1946, for an AR(1)).

    Args:
        calls: ``(n,)`` calls made when each size was read.
        sizes: ``(n,)`` bytes.
    """
    away = calls - calls.mean()
    slope = float(away @ sizes / (away @ away))
    rest = sizes - sizes.mean() - slope * away
    if not rest.any():
        return slope, 0.0
    plain = np.sqrt(rest @ rest / (len(rest) - 2) / (away @ away))
    follow = min(0.99, max(0.0, float(rest[1:] @ rest[:-1] / (rest @ rest))))
    return slope, float(plain * np.sqrt((1 + follow) / (1 - follow)))


def _calls(device: str, effort: Effort) -> Row:
    calls = _CALLS // 100 if effort.quick else _CALLS
    bundle = open_bundle(DEMO, "f32", effort.tell)
    exits, data = demo_exits("f32", device, effort), demo.evaluation_path()
    told = ask(_CALLING, str(bundle.folder), str(exits), device, str(data), str(BUDGET), str(calls))
    sizes = np.array(told, np.float64)
    made = np.arange(len(sizes)) * (calls // 200)
    kept = slice(int(_DROPPED * len(sizes)), None)
    slope, error = slope_of(made[kept].astype(np.float64), sizes[kept])
    return Row(
        f"memory.calls.{device}",
        f"demo, {device} f32: {calls:,} calls",
        f"{slope:+.3f} ± {error:.3f} bytes a call; {_mib(sizes[kept][:1])} then "
        f"{_mib(sizes[-1:])} MiB",
        {"bytes_a_call": slope, "error": error, "calls": calls},
        wanted=f"≤ {SLOPE_LIMIT:g} byte a call",
        met=slope <= SLOPE_LIMIT,
    )


def _reopening(device: str, effort: Effort) -> Row:
    rounds = 20 if effort.quick else _ROUNDS
    bundle = open_bundle(DEMO, "f32", effort.tell)
    told = ask(_REOPENING, str(bundle.folder), device, str(demo.evaluation_path()), str(rounds))
    sizes = np.array(told, np.float64)
    early = rounds // 10
    growth = float(sizes[-1] / sizes[early - 1])
    each = float(sizes[-1] - sizes[early - 1]) / (rounds - early)
    return Row(
        f"memory.open-close.{device}",
        f"demo, {device} f32: opened and closed {rounds} times",
        f"{_mib(sizes[early - 1 : early])} MiB after {early}, {_mib(sizes[-1:])} after {rounds}; "
        f"{each:+,.0f} bytes a round",
        {"ratio": growth, "bytes_a_round": each, "rounds": rounds},
        wanted=f"≤ {REOPEN_LIMIT} times",
        met=growth <= REOPEN_LIMIT,
    )


def _held(model: Model, device: str, precision: str, effort: Effort) -> Row:
    bundle = open_bundle(model, precision, effort.tell)
    dtype = str(model.random_inputs(1).dtype)
    held: dict[str, list[float]] = {"staged": [], "whole": [], "static": []}
    for _ in range(1 if effort.quick else 3):
        for kind, sizes in held.items():
            shape = str(list(model.shape))
            sizes.append(ask(_HOLDING, str(bundle.folder), device, kind, shape, dtype))
    middle = {kind: float(np.median(sizes)) for kind, sizes in held.items()}
    ratio = middle["staged"] / middle["whole"]
    return Row(
        f"memory.held.{model.name}.{device}.{precision}",
        f"{model.title}, {device} {precision}: stages ÷ whole",
        f"{ratio:.3f} ({middle['staged'] / middle['static']:.3f}); stages "
        f"{_mib(held['staged'])}, whole {_mib(held['whole'])}, static {_mib(held['static'])} MiB",
        {"ratio": ratio, **{f"{kind}_bytes": size for kind, size in middle.items()}},
        wanted=f"≤ {HELD_LIMIT}" if model is VIT else None,
        met=ratio <= HELD_LIMIT if model is VIT else None,
    )


def _mib(sizes: Sequence[float] | npt.NDArray[np.float64]) -> str:
    return f"{float(np.median(np.asarray(sizes))) / _BYTES_A_MEBIBYTE:.1f}"

"""The demo model on its whole test set: what int8 loses, and whether the budget is kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.runtime.result import AllExits, Result
from tests.benchmarks.calibrated import BUDGET, demo_data, open_demo
from tests.benchmarks.models import DEMO, open_bundle
from tests.benchmarks.rows import Effort, Row

TITLE = "The demo model on its test set"
NOTE = (
    "Stages on OpenVINO (device x86) and, for the budget, on ONNX Runtime too, each calibrated on "
    "its own engine and precision. Accuracy in per cent; points lost are f32 less int8."
)

MOST_LOST = 0.5
"""Percentage points."""

COST_TOLERANCE = 0.02
FIRST_EXIT = 0.27
_FLIPS = 0.01


def run(effort: Effort) -> Iterator[Row]:
    """Yield accuracy and cost."""
    effort.tell("demo quality")
    costs = open_bundle(DEMO, "f32", effort.tell).manifest.flops_costs
    yield Row(
        "demo.first-exit",
        "cost of leaving at exit 1, as a fraction of the static model's FLOPs",
        f"{costs[0]:.3f} (all: {', '.join(f'{cost:.3f}' for cost in costs)})",
        {"costs": list(costs)},
        wanted=f"≤ {FIRST_EXIT}",
        met=costs[0] <= FIRST_EXIT,
    )
    exits, results = {}, {}
    for precision in ("f32", "bf16", "int8"):
        exits[precision], results[precision], labels = _answers(precision, "x86", effort)
    _, results["cpu"], _ = _answers("f32", "cpu", effort)
    for name, result in results.items():
        where = "cpu f32" if name == "cpu" else f"x86 {name}"
        yield _budget_row(where, result, labels)
    for number in range(len(costs)):
        pair = {name: _accuracy(found.logits[number], labels) for name, found in exits.items()}
        yield _loss_row(f"exit {number + 1}", pair["f32"], pair["int8"], len(labels))
    pair = {name: float((result.labels == labels).mean()) for name, result in results.items()}
    yield _loss_row(f"budget {BUDGET}", pair["f32"], pair["int8"], len(labels))
    moved = float((results["f32"].exits != results["int8"].exits).mean())
    yield Row(
        "demo.exit-flips",
        f"samples that leave at another exit in int8 than in f32, budget {BUDGET}",
        f"{100 * moved:.2f} %",
        {"fraction": moved},
        wanted=f"≤ {100 * _FLIPS:g} %",
        met=moved <= _FLIPS,
    )


def _answers(
    precision: str, device: str, effort: Effort
) -> tuple[AllExits, Result, npt.NDArray[np.int64]]:
    with open_demo(precision, device, effort) as runtime:
        data = demo_data(demo.evaluation_path(), effort)
        return runtime.all_exits(data["image"]), runtime(data["image"]), data["y"]


def _accuracy(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def _budget_row(where: str, result: Result, labels: npt.NDArray[np.int64]) -> Row:
    accuracy = float((result.labels == labels).mean())
    shares = np.bincount(result.exits - 1, minlength=len(result.exit_costs)) / len(labels)
    return Row(
        f"demo.cost.{where.replace(' ', '.')}",
        f"realised FLOPs cost at budget {BUDGET}, {where}",
        f"{result.cost:.4f}; accuracy {100 * accuracy:.2f} %; shares "
        f"{', '.join(f'{share:.3f}' for share in shares)}",
        {"cost": result.cost, "accuracy": accuracy, "shares": [float(s) for s in shares]},
        wanted=f"{BUDGET} ± {COST_TOLERANCE}",
        met=abs(result.cost - BUDGET) <= COST_TOLERANCE,
    )


def _loss_row(what: str, in_float: float, in_int8: float, count: int) -> Row:
    lost = 100 * (in_float - in_int8)
    return Row(
        f"demo.int8-loss.{what.replace(' ', '-')}",
        f"accuracy lost by int8, {what}, {count} samples",
        f"{lost:+.2f} points ({100 * in_float:.2f} to {100 * in_int8:.2f})",
        {"points": lost, "f32": in_float, "int8": in_int8, "samples": count},
        wanted=f"≤ {MOST_LOST} points",
        met=lost <= MOST_LOST,
    )

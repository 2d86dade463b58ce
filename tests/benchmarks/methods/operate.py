"""Accuracy at a budget: thresholds from the calibration set, accuracy and cost on the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate import ExitRecords, fit_family, simulate

REACHED = 0.01
"""A first exit that is dearer than the budget by less than this share of it still counts."""


@dataclass(frozen=True)
class Point:
    """What a model does at one budget; costs are fractions of the static model's FLOPs.

    Attributes:
        budget: The budget asked for.
        reached: False where leaving always at exit 1 costs more, or always at the last one less.
        aimed: The budget the exits were calibrated at: the nearest one that is possible.
        cost: Mean cost on the test set.
        accuracy: Fraction of the test set answered rightly.
        expected: Accuracy on the calibration set.
        shares: Fractions of the test set that leave at each exit.
    """

    budget: float
    reached: bool
    aimed: float
    cost: float
    accuracy: float
    expected: float
    shares: tuple[float, ...]


def operating_points(
    calibration: ExitRecords, test: ExitRecords, costs: Sequence[float], budgets: Sequence[float]
) -> tuple[Point, ...]:
    """Return what a model does at some budgets.

    Args:
        calibration: Exit records of the calibration set.
        test: Exit records of the test set.
        costs: Cost of leaving at each of the K exits, rising.
        budgets: Mean costs wanted.
    """
    return tuple(_point(calibration, test, costs, budget) for budget in budgets)


def _point(
    calibration: ExitRecords, test: ExitRecords, costs: Sequence[float], budget: float
) -> Point:
    aimed = min(max(budget, costs[0]), costs[-1])
    wanted = Budget(aimed)
    table = CostTable("flops", tuple(costs), 1.0)
    family = fit_family(calibration, [table], budget=wanted)
    settings = family.settings(wanted)
    params = tuple(tuple(float(value) for value in vector) for vector in settings.params)
    exits = simulate(test, params, settings.thresholds) - 1
    quality = test.quality[np.arange(len(test)), exits]
    expected = np.interp(family.position(wanted), np.arange(len(family.quality)), family.quality)
    return Point(
        budget=budget,
        reached=abs(aimed - budget) <= REACHED * budget,
        aimed=aimed,
        cost=float(np.asarray(costs)[exits].mean()),
        accuracy=float(quality.mean(dtype=np.float64)),
        expected=float(expected),
        shares=_shares(exits, len(costs)),
    )


def _shares(exits: npt.NDArray[Any], count: int) -> tuple[float, ...]:
    return tuple(float(share) for share in np.bincount(exits, minlength=count) / len(exits))

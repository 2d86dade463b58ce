"""The accuracy-cost table of a family, and the point it recommends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.exits import ExitFamily

GRID = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Budgets of the table, in fractions of the static model."""

DEFAULT_MAX_DROP = 0.5
"""Percentage points of quality below the last exit that a recommendation may lose."""


@dataclass(frozen=True)
class OperatingPoint:
    """One setting of a family's knob, as measured on the calibration set.

    Attributes:
        budget: The budget that sets it.
        cost: Mean cost there, in the budget's unit; below the budget where the policy is discrete.
        relative: ``cost`` divided by the cost of the static model.
        quality: Mean quality, a fraction.
        drop: Percentage points of quality below the last exit; negative where it is above.
        shares: Fractions of the calibration set that leave at each of the K exits.
        p95: Milliseconds that 95 % of the calls take at most, as forecast; None where calls were
            not timed.
    """

    budget: Budget
    cost: float
    relative: float
    quality: float
    drop: float
    shares: tuple[float, ...]
    p95: float | None = None


def point_at(family: ExitFamily, budget: Budget) -> OperatingPoint:
    """Return the operating point that a budget sets.

    Raises:
        BudgetError: The family cannot serve the budget.
    """
    position = family.position(budget)
    rows = np.arange(len(family.quality))
    quality = float(np.interp(position, rows, family.quality))
    cost = float(np.interp(position, rows, family.curve(budget.kind)))
    shares = [float(np.interp(position, rows, column)) for column in family.shares.T]
    last = float(family.per_exit_quality[-1])
    return OperatingPoint(
        budget,
        cost,
        cost / family.costs[budget.kind].static,
        quality,
        100 * (last - quality),
        tuple(shares),
    )


def frontier(
    family: ExitFamily, kind: CostKind = "flops", budgets: Sequence[float] | None = None
) -> tuple[OperatingPoint, ...]:
    """Return the table of operating points, from cheap to dear.

    Args:
        family: The calibrated exits.
        kind: Which cost to hold against.
        budgets: Budgets in that unit. By default the cheapest and the dearest point, and between
            them every twentieth of the static model; of a certified family, the certified ones.

    Raises:
        BudgetError: The family has no such costs, or a budget is out of its bounds.
    """
    if budgets is None and family.certificate is not None:
        budgets = [entry.budget.value for entry in family.certificate.budgets]
    if budgets is None:
        curve = family.curve(kind)
        inner = np.asarray(GRID) * family.costs[kind].static
        inside = inner[(inner > curve[0]) & (inner < curve[-1])]
        budgets = (float(curve[0]), *(float(value) for value in inside), float(curve[-1]))
    return tuple(point_at(family, Budget(value, kind)) for value in budgets)


def recommend(
    family: ExitFamily, kind: CostKind = "flops", max_drop: float = DEFAULT_MAX_DROP
) -> OperatingPoint:
    """Return the cheapest point that loses at most ``max_drop`` points against the last exit.

    The last row loses nothing, so there is always one. Of a certified family it is the cheapest
    certified budget that is certified to lose no more than the drop it was certified for.

    Args:
        family: The calibrated exits.
        kind: Which cost to save.
        max_drop: Percentage points of quality.

    Raises:
        BudgetError: The family has no such costs.
    """
    if family.certificate is not None:
        entries = family.certificate.budgets
        keeping = [each for each in entries if family.certificate.keeps_drop(each.position)]
        return point_at(family, (keeping or entries)[0 if keeping else -1].budget)
    curve = family.curve(kind)
    least = float(family.per_exit_quality[-1]) - max_drop / 100
    good: npt.NDArray[np.intp] = np.flatnonzero(family.quality >= least - 1e-12)
    row = int(good[0]) if len(good) else len(curve) - 1
    return point_at(family, Budget(float(curve[row]), kind))

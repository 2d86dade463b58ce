"""Cost tables: what leaving at each exit costs, counted or measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.exits import CostTable
from edgeexit.bundle.specs import Manifest
from edgeexit.calibrate.kept_exits import check_early_exits
from edgeexit.errors import BudgetError, InputError

MEDIAN_ERROR = 1.2533
"""Standard error of a median, in standard deviations over the root of the count."""

NORMAL_P90 = 1.2816
"""The 90th percentile of the normal distribution, in standard deviations above its median."""

Array = npt.NDArray[np.float64]

_AGAIN: Mapping[CostKind, str] = {
    "flops": "",
    "latency": "; edgeexit profile measures again",
    "energy": "; edgeexit profile --energy measures again",
}


def checked_table(table: CostTable) -> CostTable:
    """Return ``table`` if its costs are positive, finite and rise with the exits.

    Raises:
        InputError: They are not.
    """
    per_exit = np.asarray(table.per_exit, dtype=np.float64)
    finite = bool(np.isfinite(per_exit).all() and np.isfinite(table.static))
    rising = len(per_exit) > 1 and per_exit[0] > 0 and bool((np.diff(per_exit) > 0).all())
    if not finite or not rising or table.static <= 0:
        raise InputError(
            f"{table.kind} costs of the exits are {list(table.per_exit)} (static model "
            f"{table.static}); right are positive, finite numbers that rise from exit to exit.",
            hint="measure again on an idle machine.",
            code="costs.values",
        )
    return table


def flops_table(manifest: Manifest) -> CostTable:
    """Return the counted costs, in fractions of the static model.

    Raises:
        InputError: The manifest's counts do not rise from exit to exit, or there is one exit.
    """
    check_early_exits(manifest)
    return checked_table(CostTable("flops", manifest.flops_costs, 1.0))


def latency_table(stages: Sequence[float], static: float, fingerprint: str) -> CostTable:
    """Return measured costs in milliseconds.

    Args:
        stages: Milliseconds of each of the K stages with its head, gate and moves.
        static: Milliseconds of the whole static model.
        fingerprint: The device they were measured on.

    Raises:
        InputError: A time is not a positive, finite number.
    """
    per_exit = tuple(float(cost) for cost in np.cumsum(np.asarray(stages, dtype=np.float64)))
    return checked_table(CostTable("latency", per_exit, float(static), fingerprint))


class Percentiles(Protocol):
    """Times of one thing, as a profile keeps them: a count and two percentiles."""

    @property
    def count(self) -> int:
        """How many times it was measured."""

    @property
    def p50(self) -> float:
        """The median, in milliseconds."""

    @property
    def p90(self) -> float:
        """What 90 % stay below, in milliseconds."""


def with_errors(table: CostTable, times: Sequence[Percentiles]) -> CostTable:
    """Return the table with standard errors of its costs.

    A median of n normal times errs by ``1.253 s / sqrt(n)``, and their standard deviation s is
    ``(p90 - p50) / 1.282``; times have a longer tail above than below, so s is rather too large.
    The errors of the parts add up, since what disturbs one stage disturbs the others. What differs
    between two measurements, a clock or another load, is not in them.

    Args:
        table: K costs.
        times: Of the K stages, and of what a call spends besides.
    """
    *stages, rest = [
        MEDIAN_ERROR * (each.p90 - each.p50) / NORMAL_P90 / np.sqrt(each.count) for each in times
    ]
    errors = np.cumsum(stages) + rest
    return replace(table, errors=tuple(float(error) for error in errors))


def upper_costs(table: CostTable, alpha: float) -> Array:
    """Return costs ``(K,)`` that are below none of the true ones with probability 1 - alpha.

    Measured costs are taken to err normally: ``c_k + z se_k``, z for alpha / K, made to rise.
    """
    costs: Array = np.asarray(table.per_exit, dtype=np.float64)
    if not any(table.errors):
        return costs
    z = NormalDist().inv_cdf(1 - alpha / len(costs))
    return np.maximum.accumulate(costs + z * np.asarray(table.errors))


def check_budget(budget: Budget, table: CostTable) -> None:
    """Refuse a budget that no mix of exits can meet.

    Raises:
        BudgetError: It is below the cost of the first exit, above that of the last, or of another
            kind than the table.
    """
    low, high = table.per_exit[0], table.per_exit[-1]
    bounds = f"from {table.stated(low)} to {table.stated(high)}"
    if budget.kind != table.kind:
        raise BudgetError(
            f"budget {budget} is of kind {budget.kind}, but the costs at hand are {table.kind}.",
            hint=f"give a budget {bounds}.",
            code="budget.kind",
        )
    slack = 1e-6 * high
    if not low - slack <= budget.value <= high + slack:
        raise BudgetError(
            f"budget {budget} is outside what this model can do: leaving always at the first "
            f"exit costs {table.stated(low)}, always at the last {table.stated(high)}.",
            hint=f"choose a budget {bounds}{_AGAIN[budget.kind]}.",
            code="budget.bounds",
        )


def reference_budget(budget: Budget | None, table: CostTable) -> float:
    """Return the mean cost at which a shape is fitted: the budget, or the middle of the range."""
    if budget is not None:
        return budget.value
    return (table.per_exit[0] + table.per_exit[-1]) / 2

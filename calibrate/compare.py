"""What the thresholds of one engine or precision do on another, on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.exits import ExitFamily
from edgeexit.calibrate.nesting import Integers, simulate
from edgeexit.calibrate.records import ExitRecords
from edgeexit.errors import InputError

BUDGETS = (0.3, 0.5, 0.7)
"""Budgets that are compared, in fractions of the static model."""


@dataclass(frozen=True)
class Side:
    """One engine and precision, with the exits that were calibrated for it.

    Attributes:
        records: Its exit records.
        answers: ``(n, K)`` integers, the class that each exit gives.
        family: Its exits.
    """

    records: ExitRecords
    answers: Integers
    family: ExitFamily


@dataclass(frozen=True)
class Borrowed:
    """One side at one budget, with its own thresholds and with those of the other side.

    Costs are means over the samples, in fractions of this side's static model.

    Attributes:
        cost: With its own thresholds.
        quality: Likewise, a fraction.
        borrowed_cost: With the other's.
        borrowed_quality: Likewise.
        error: ``borrowed_cost`` less the budget: what is spent too much.
        lost: Percentage points of quality lost by borrowing; negative where it gains.
    """

    cost: float
    quality: float
    borrowed_cost: float
    borrowed_quality: float
    error: float
    lost: float


@dataclass(frozen=True)
class ComparedPoint:
    """Two sides at one budget.

    Attributes:
        budget: The budget, in fractions of the static model.
        exit_flips: Share of samples that leave at another exit on the other side, each side with
            its own thresholds.
        engine_flips: The same with this side's thresholds on both: what rounding alone moves.
        answer_flips: Share of samples that get another answer, each side with its own thresholds.
        here: The side that is being calibrated.
        there: The other side.
    """

    budget: float
    exit_flips: float
    engine_flips: float
    answer_flips: float
    here: Borrowed
    there: Borrowed


def compare_exits(
    here: Side, there: Side, budgets: Sequence[float] = BUDGETS
) -> tuple[ComparedPoint, ...]:
    """Return, budget by budget, what changes between two sides and what borrowing costs.

    Both are held against FLOPs, which mean the same on every engine. A certificate is left aside:
    it snaps budgets, and two sides would be compared at different ones.

    Args:
        here: The side that is being calibrated.
        there: Another engine or precision of the same model, or an earlier calibration of the
            same one; the same samples in the same order.
        budgets: In fractions of the static model. Those outside what either side can do are left
            out; where none is left, the middle of what both can do stands in.

    Raises:
        BudgetError: A family has no costs in FLOPs.
        InputError: The two sides are not of the same samples, exits and gates.
    """
    _check(here, there)
    here, there = (replace(s, family=replace(s.family, certificate=None)) for s in (here, there))
    return tuple(_compare(here, there, value) for value in _shared(here, there, budgets))


def _check(here: Side, there: Side) -> None:
    mine, other = here.records, there.records
    seen = [(len(r), r.num_exits, r.gate, r.data_sha256, r.quality_kind) for r in (mine, other)]
    shapes = [side.answers.shape == side.records.quality.shape for side in (here, there)]
    gates = {len(side.family.params) for side in (here, there)}
    if seen[0] == seen[1] and all(shapes) and gates == {mine.num_exits - 1}:
        return
    raise InputError(
        f"these records cannot be compared: {len(mine)} samples, {mine.num_exits} exits and gate "
        f"{mine.gate.name!r} here; {len(other)}, {other.num_exits} and {other.gate.name!r} there; "
        "right are the same samples, exits and gate.",
        hint="take both from the same data, from two bundles of one model with one --gate.",
        code="compare.records",
    )


def _shared(here: Side, there: Side, budgets: Sequence[float]) -> list[float]:
    curves = [side.family.curve("flops") for side in (here, there)]
    low, high = max(float(c[0]) for c in curves), min(float(c[-1]) for c in curves)
    inside = sorted({float(value) for value in budgets if low <= value <= high})
    return inside or [(low + high) / 2]


def _compare(here: Side, there: Side, budget: float) -> ComparedPoint:
    own, foreign = _leave(here, here.family, budget), _leave(there, there.family, budget)
    given = _leave(there, here.family, budget)
    rows = np.arange(len(own))
    moved = here.answers[rows, own] != there.answers[rows, foreign]
    return ComparedPoint(
        budget=budget,
        exit_flips=float(np.mean(own != foreign)),
        engine_flips=float(np.mean(own != given)),
        answer_flips=float(np.mean(moved)),
        here=_borrow(here, own, _leave(here, there.family, budget), budget),
        there=_borrow(there, foreign, given, budget),
    )


def _leave(side: Side, family: ExitFamily, budget: float) -> Integers:
    """Return the exit ``(n,)``, from 0, where a side's samples leave by a family's thresholds."""
    thresholds = family.settings(Budget(budget)).thresholds
    return simulate(side.records, family.params, thresholds) - 1


def _borrow(side: Side, own: Integers, borrowed: Integers, budget: float) -> Borrowed:
    costs = np.asarray(side.family.costs["flops"].per_exit)
    rows = np.arange(len(own))
    quality = float(side.records.quality[rows, own].mean(dtype=np.float64))
    other = float(side.records.quality[rows, borrowed].mean(dtype=np.float64))
    spent = float(costs[borrowed].mean())
    return Borrowed(
        cost=float(costs[own].mean()),
        quality=quality,
        borrowed_cost=spent,
        borrowed_quality=other,
        error=spent - budget,
        lost=100 * (quality - other),
    )

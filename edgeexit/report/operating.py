"""The accuracy-cost curve and the point of the budget, on calibration data and on other data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.exits import ExitFamily, mixed_thresholds
from edgeexit.calibrate.bootstrap import band, resampled_means
from edgeexit.calibrate.frontier import point_at
from edgeexit.calibrate.nesting import gate_scores, leave
from edgeexit.report.evaluation import Evaluation

CURVE_POINTS = 41
"""Points of a curve, evenly far apart in cost."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A point of the accuracy-cost plane.

    Attributes:
        cost: Mean cost, a fraction of the static model's.
        quality: A fraction.
        low: Lower end of the quality's 95 % interval; None where it was not estimated.
        high: Its upper end.
    """

    cost: float
    quality: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Operating:
    """What the budget does.

    Attributes:
        place: Cost and quality.
        drop: Percentage points of quality below the static model (below the last exit on the
            calibration set); negative where it is above.
        drop_low: Lower end of its 95 % interval, by paired resamples; None on the calibration set.
        drop_high: Its upper end.
        shares: Fractions that leave at each exit.
    """

    place: Place
    drop: float
    drop_low: float | None
    drop_high: float | None
    shares: tuple[float, ...]


def family_kind(family: ExitFamily, budget: Budget | None) -> CostKind:
    """Return the kind of cost to draw: the budget's, else FLOPs where they were calibrated.

    Costs in batches do not add up sample by sample, so other data cannot be placed among them.
    """
    if budget is not None and budget.kind in family.costs and not in_batches(family, budget):
        return budget.kind
    return "flops" if "flops" in family.costs else next(iter(family.costs))


def in_batches(family: ExitFamily, budget: Budget) -> bool:
    """Return whether a budget is one of samples in batches."""
    table = family.costs.get(budget.kind)
    return table is not None and table.batch is not None


def drawn_cost(family: ExitFamily, budget: Budget) -> float:
    """Return a budget as a fraction of the static model's cost, in the kind that is drawn.

    Raises:
        BudgetError: The family cannot serve it.
    """
    table = family.costs[family_kind(family, budget)]
    if table.kind == budget.kind:
        return budget.value / table.static
    rows = np.arange(len(family.quality))
    cost = np.interp(family.position(budget), rows, family.curve(table.kind))
    return float(cost) / table.static


def fitted_curve(family: ExitFamily, kind: CostKind) -> tuple[Place, ...]:
    """Return the family's curve on its calibration set, from cheap to dear."""
    rows = np.arange(len(family.quality))
    costs = family.curve(kind) / family.costs[kind].static
    return tuple(
        Place(float(np.interp(at, rows, costs)), float(np.interp(at, rows, family.quality)))
        for at in _positions(family, kind)
    )


def fitted_point(family: ExitFamily, budget: Budget) -> Operating:
    """Return what the budget did on the calibration set.

    Raises:
        BudgetError: The family cannot serve it.
    """
    point = point_at(family, budget)
    cost = drawn_cost(family, budget) if in_batches(family, budget) else point.relative
    place = Place(cost, point.quality)
    return Operating(place, point.drop, None, None, point.shares)


def measured_curve(family: ExitFamily, kind: CostKind, found: Evaluation) -> tuple[Place, ...]:
    """Return the same settings on other data, with 95 % bands of their quality.

    The bands are of the bootstrap over independent units: samples, or groups of them.
    """
    tables = [mixed_thresholds(family.thresholds, at) for at in _positions(family, kind)]
    scores = gate_scores(found.records, family.params)
    rows = np.arange(len(scores))
    costs = _relative(family, kind)
    taken = [leave(scores, thresholds) for thresholds in tables]
    quality = np.stack([found.records.quality[rows, exits] for exits in taken], axis=1)
    return _places([float(costs[exits].mean()) for exits in taken], quality, found)


def measured_exits(costs: Sequence[float], found: Evaluation) -> tuple[Place, ...]:
    """Return each exit alone: what leaving there costs, and its quality on all samples.

    Args:
        costs: K fractions of the static model's cost.
        found: The answers.
    """
    return _places(list(costs), found.records.quality, found)


def measured_static(found: Evaluation) -> Place:
    """Return the static model, whose cost is 1."""
    return _places([1.0], found.static_quality[:, None], found)[0]


def exits_taken(
    family: ExitFamily | None, budget: Budget | None, found: Evaluation
) -> npt.NDArray[np.int64]:
    """Return the exit ``(n,)``, from 0, of each sample; the last one without a budget.

    Raises:
        BudgetError: The family cannot serve the budget.
    """
    if family is None or budget is None:
        return np.full(len(found.records), found.records.num_exits - 1, dtype=np.int64)
    thresholds = family.settings(budget).thresholds
    return leave(gate_scores(found.records, family.params), thresholds)


def measured_point(
    costs: npt.ArrayLike, taken: npt.NDArray[np.int64], found: Evaluation
) -> Operating:
    """Return what the exits taken come to.

    Args:
        costs: K fractions of the static model's cost.
        taken: ``(n,)`` exit taken by each sample, from 0.
        found: The answers.
    """
    quality = found.records.quality[np.arange(len(taken)), taken].astype(np.float64)
    drop = 100 * (found.static_quality - quality)
    low, high = band(resampled_means(np.stack([quality, drop], axis=1), found.units))
    cost = float(np.asarray(costs)[taken].mean())
    shares = np.bincount(taken, minlength=found.records.num_exits) / len(taken)
    return Operating(
        Place(cost, float(quality.mean()), float(low[0]), float(high[0])),
        float(drop.mean()),
        float(low[1]),
        float(high[1]),
        tuple(float(share) for share in shares),
    )


def _relative(family: ExitFamily, kind: CostKind) -> Array:
    table = family.costs[kind]
    return np.asarray(table.per_exit) / table.static


def _positions(family: ExitFamily, kind: CostKind) -> list[float]:
    """Return settings of the knob that lie evenly in cost; of few settings, all."""
    curve = family.curve(kind)
    rows = np.arange(len(curve), dtype=np.float64)
    if family.discrete or len(curve) <= CURVE_POINTS:
        _, first = np.unique(curve, return_index=True)
        return [float(row) for row in first]
    targets = np.linspace(curve[0], curve[-1], CURVE_POINTS)
    places = np.interp(targets, curve, rows)
    places[0] = 0.0
    return [float(place) for place in np.unique(places)]


def _places(
    costs: Sequence[float], quality: npt.NDArray[np.floating], found: Evaluation
) -> tuple[Place, ...]:
    values = np.asarray(quality, dtype=np.float64)
    low, high = band(resampled_means(values, found.units))
    means = values.mean(axis=0)
    return tuple(
        Place(cost, float(means[i]), float(low[i]), float(high[i])) for i, cost in enumerate(costs)
    )

"""What data prove of the settings of a family: which keep a limit, tested along the knob."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.exits import ExitFamily, mixed_thresholds
from edgeexit.calibrate.betting import Bets
from edgeexit.calibrate.nesting import Array, gate_scores
from edgeexit.calibrate.records import ExitRecords
from edgeexit.calibrate.units import Steps, in_random_order, unit_numbers

POINTS_BELOW, POINTS_ABOVE = 192, 64
"""Settings that are tested for one budget: that seem to be below it, and above it."""

MANY_UNITS, COARSER = 20_000, 4
"""From so many units on a fourth of these settings will do: all lie near the budget then."""


@dataclass(frozen=True)
class Tested:
    """Settings of the knob, in the order in which they were tested.

    Attributes:
        positions: ``(C,)``.
        proven: ``(C,)`` whether the limit is proven there and at all before it.
        mean: ``(C,)`` mean of the tested quantity over the units.
        deviation: ``(C,)`` its standard deviation.
        units: Number of units.
    """

    positions: Array
    proven: npt.NDArray[np.bool_]
    mean: Array
    deviation: Array
    units: int

    @property
    def last(self) -> int | None:
        """Index of the last setting that is proven with all before it."""
        count = int(np.count_nonzero(self.proven))
        return count - 1 if count else None


def prove_costs(
    family: ExitFamily,
    parts: list[ExitRecords],
    costs: Array,
    limit: float,
    alpha: float,
    seed: int,
) -> Tested:
    """Test settings from cheap to dear: is the mean cost of a unit at most the limit?

    Args:
        family: A family whose thresholds do not depend on these records.
        parts: Records of units; one unit may have samples in several parts.
        costs: ``(K,)``, rising.
        limit: The budget.
        alpha: Probability with which a setting above the limit may pass.
        seed: Orders the units.
    """
    count = sum(len(part) for part in parts)
    positions = _positions(family, costs, limit, COARSER if count >= MANY_UNITS else 1)
    scores = np.concatenate([gate_scores(part, family.params) for part in parts])
    units = np.concatenate(unit_numbers(parts))
    mixed = [mixed_thresholds(family.thresholds, value) for value in positions]
    thresholds = np.stack(mixed).astype(np.float64)
    steps = Steps.of(scores, thresholds, costs, in_random_order(units, seed))
    return _bet(steps, positions, limit, (float(costs[0]), float(costs[-1])), alpha)


def prove_drops(
    family: ExitFamily, records: ExitRecords, limit: float, alpha: float, seed: int
) -> Tested:
    """Test settings from dear to cheap: does quality fall by at most the limit?

    Args:
        family: A family whose thresholds do not depend on these records.
        records: Records of units.
        limit: Largest mean of the last exit's quality less that of the exit taken, a fraction.
        alpha: Probability with which a setting above the limit may pass.
        seed: Orders the units.
    """
    positions = np.arange(len(family.thresholds), dtype=np.float64)
    quality = records.quality.astype(np.float64)
    order = in_random_order(unit_numbers([records])[0], seed)
    scores = gate_scores(records, family.params)
    steps = Steps.of(scores, family.thresholds, quality[:, -1:] - quality, order)
    least = 0.0 if records.quality_kind == "agreement" else -1.0
    return _bet(steps, positions, limit, (least, 1.0), alpha, from_end=True)


def _bet(
    steps: Steps,
    positions: Array,
    limit: float,
    bounds: tuple[float, float],
    alpha: float,
    *,
    from_end: bool = False,
) -> Tested:
    """Let one gambler a setting bet, and stop at the first who does not win."""
    bets = Bets(len(positions), limit, bounds, steps.count, alpha)
    total, squares = np.zeros(len(positions)), np.zeros(len(positions))
    for block in steps.blocks():
        bets.take(block)
        total += block.sum(axis=0)
        squares += (block**2).sum(axis=0)
    order = slice(None, None, -1) if from_end else slice(None)
    mean = total / steps.count
    deviation = np.sqrt(np.maximum(squares / steps.count - mean**2, 0.0))
    proven = np.logical_and.accumulate(bets.proven[order])
    return Tested(positions[order], proven, mean[order], deviation[order], steps.count)


def _positions(family: ExitFamily, costs: Array, limit: float, coarser: int) -> Array:
    """Return settings to test, the finer the nearer they seem to come to the limit.

    The family's own curve, from other data, says where that is; the tests do not trust it.
    """
    curve = np.maximum.accumulate(family.shares @ costs)
    rows = np.arange(len(curve), dtype=np.float64)
    low, high = float(curve[0]), float(curve[-1])
    top = limit + (high - limit) / 4
    if family.discrete:
        return rows[: max(1, int(np.count_nonzero(curve <= top)))]
    below = limit - (limit - low) * np.linspace(1.0, 0.0, POINTS_BELOW // coarser) ** 2
    targets = np.concatenate([below[1:], np.linspace(limit, top, POINTS_ABOVE // coarser)])
    return np.unique(np.interp(targets, curve, rows))

"""All policies over all budgets, on samples that they were not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable, ExitSettings
from edgeexit.calibrate.bootstrap import band, resampled_means
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.frontier import GRID
from edgeexit.calibrate.nesting import Array, Integers, gate_scores, leave
from edgeexit.calibrate.oracle import oracle_quality
from edgeexit.calibrate.policies import DEFAULT_POLICY, POLICIES
from edgeexit.calibrate.records import ExitRecords
from edgeexit.calibrate.units import in_random_order, unit_numbers
from edgeexit.calibrate.unnested import best_settings

MOST_SAMPLES = 40_000
"""Samples looked at; more would tell no more."""

REFITTED = f"{DEFAULT_POLICY}, refitted"
"""The default with a shape of its own for every budget: what one shape for all of them loses."""

UNNESTED = f"{DEFAULT_POLICY}, refitted and unnested"
"""The same with thresholds of their own too: what one nested knob loses besides."""


@dataclass(frozen=True)
class SweptPoint:
    """One policy at one budget, on samples that it was not fitted on.

    Attributes:
        budget: The budget.
        cost: Mean cost that came out, in the budget's unit.
        quality: Mean quality, a fraction; ``low`` to ``high`` is its 95 % band.
        low: See ``quality``.
        high: See ``quality``.
        lead: Percentage points of quality above the default policy; ``lead_low`` to
            ``lead_high`` is its 95 % band, by paired resamples.
        lead_low: See ``lead``.
        lead_high: See ``lead``.
    """

    budget: Budget
    cost: float
    quality: float
    low: float
    high: float
    lead: float
    lead_low: float
    lead_high: float


@dataclass(frozen=True)
class Sweep:
    """What a data set says of a model's exits.

    Attributes:
        kind_table: The cost table it was swept for.
        budgets: The budgets.
        points: Points by policy, one a budget; the default policy first.
        oracle: Best quality a budget that any choice could have.
        per_exit: Quality of always leaving at each exit, with ends of the band: ``(K, 3)``.
        quality_kind: ``accuracy`` or ``agreement``.
        samples: Samples looked at.
        units: Independent units among them.
        unit: ``sample`` or ``group``.
        left_out: Policies that this model's gate cannot serve.
    """

    kind_table: CostTable
    budgets: tuple[Budget, ...]
    points: dict[str, tuple[SweptPoint, ...]]
    oracle: tuple[float, ...]
    per_exit: Array
    quality_kind: str
    samples: int
    units: int
    unit: str
    left_out: tuple[str, ...]


Fit = Callable[[ExitRecords], Callable[[Budget], ExitSettings]]


def sweep(records: ExitRecords, table: CostTable, *, seed: int = 0) -> Sweep:
    """Return what every policy does at every budget, by cross-fitting.

    The units are halved; each policy is fitted on either half and looked at on the other, so no
    sample is judged by what was fitted on it or on its group.

    Args:
        records: Exit records.
        table: Costs of the kind to sweep over.
        seed: Halves the units and draws the resamples.

    Raises:
        InputError: The table does not fit the records.
    """
    records = records.take(at_most(records, seed))
    units = unit_numbers([records])[0]
    budgets = _budgets(table)
    usable = [name for name, policy in POLICIES.items() if policy.suits(records.gate)]
    fits = {name: _once(name, table) for name in usable}
    if DEFAULT_POLICY in usable:
        fits[REFITTED] = _anew(DEFAULT_POLICY, table)
        fits[UNNESTED] = _unnested(DEFAULT_POLICY, table)
    halves = in_random_order(units, seed) % 2
    seen = {name: _outcomes(fit, records, halves, table, budgets) for name, fit in fits.items()}
    first = next(iter(seen))
    points = {name: _points(found, seen[first], units, budgets) for name, found in seen.items()}
    alone = resampled_means(records.quality.astype(np.float64), units)
    per_exit = np.column_stack([records.quality.mean(axis=0, dtype=np.float64), *band(alone)])
    costs, values = np.asarray(table.per_exit), np.array([each.value for each in budgets])
    return Sweep(
        table,
        budgets,
        points,
        tuple(float(value) for value in oracle_quality(records.quality, costs, values)),
        per_exit,
        records.quality_kind,
        len(records),
        len(np.unique(units)),
        "sample" if records.group is None else "group",
        tuple(name for name in POLICIES if name not in usable),
    )


def at_most(records: ExitRecords, seed: int) -> npt.NDArray[np.int64]:
    """Return the rows of some 40,000 of the samples, in whole units; of all where there are fewer.

    Args:
        records: Exit records.
        seed: Draws the units.
    """
    if len(records) <= MOST_SAMPLES:
        return np.arange(len(records))
    order = in_random_order(unit_numbers([records])[0], seed + 1)
    sizes = np.cumsum(np.bincount(order))
    kept = int(np.searchsorted(sizes, MOST_SAMPLES, side="right")) or 1
    return np.flatnonzero(order < kept)


def _budgets(table: CostTable) -> tuple[Budget, ...]:
    """Return every twentieth of the static model that the exits can meet."""
    values = [share * table.static for share in GRID]
    inside = [value for value in values if table.per_exit[0] < value < table.per_exit[-1]]
    middle = (table.per_exit[0] + table.per_exit[-1]) / 2
    return tuple(Budget(value, table.kind) for value in inside or [middle])


def _once(policy: str, table: CostTable) -> Fit:
    """Return a fit of one family for all budgets."""

    def fit(records: ExitRecords) -> Callable[[Budget], ExitSettings]:
        return fit_family(records, [table], policy=policy).settings

    return fit


def _anew(policy: str, table: CostTable) -> Fit:
    """Return a fit of a family of its own for every budget."""

    def fit(records: ExitRecords) -> Callable[[Budget], ExitSettings]:
        def at(budget: Budget) -> ExitSettings:
            return fit_family(records, [table], policy=policy, budget=budget).settings(budget)

        return at

    return fit


def _unnested(policy: str, table: CostTable) -> Fit:
    """Return a fit of a shape and of thresholds of their own for every budget."""

    def fit(records: ExitRecords) -> Callable[[Budget], ExitSettings]:
        def at(budget: Budget) -> ExitSettings:
            family = fit_family(records, [table], policy=policy, budget=budget)
            return best_settings(records, family, table, budget)

        return at

    return fit


def _outcomes(
    fit: Fit, records: ExitRecords, halves: Integers, table: CostTable, budgets: Sequence[Budget]
) -> Array:
    """Return cost and quality ``(2, n, B)`` of every sample under the other half's family."""
    costs = np.asarray(table.per_exit)
    found = np.empty((2, len(records), len(budgets)))
    for half in (0, 1):
        settings_at = fit(records.take(np.flatnonzero(halves != half)))
        rows = np.flatnonzero(halves == half)
        judged = records.take(rows)
        for place, budget in enumerate(budgets):
            settings = settings_at(budget)
            params = tuple(tuple(vector.tolist()) for vector in settings.params)
            exits = leave(gate_scores(judged, params), settings.thresholds)
            found[0, rows, place] = costs[exits]
            found[1, rows, place] = judged.quality[np.arange(len(rows)), exits]
    return found


def _points(
    found: Array, default: Array, units: Integers, budgets: Sequence[Budget]
) -> tuple[SweptPoint, ...]:
    """Return a policy's points from the outcomes of its samples and of the default's."""
    count = len(budgets)
    lead = 100 * (found[1] - default[1])
    drawn = resampled_means(np.concatenate([found[1], lead], axis=1), units)
    low, high = band(drawn)
    cost, quality = found[0].mean(axis=0), found[1].mean(axis=0)
    mean_lead = lead.mean(axis=0)
    return tuple(
        SweptPoint(
            budget=budget,
            cost=float(cost[place]),
            quality=float(quality[place]),
            low=float(low[place]),
            high=float(high[place]),
            lead=float(mean_lead[place]),
            lead_low=float(low[count + place]),
            lead_high=float(high[count + place]),
        )
        for place, budget in enumerate(budgets)
    )

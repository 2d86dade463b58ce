"""What a subset of a model's exits does, judged on samples that nothing was fitted on."""

from __future__ import annotations

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate.builder import MINIMUM_SAMPLES
from edgeexit.calibrate.family import fit_family, remeasured
from edgeexit.calibrate.kept_exits import ExitFlops, keep_records
from edgeexit.calibrate.nesting import Array, Integers, gate_scores, leave
from edgeexit.calibrate.policies import DEFAULT_POLICY, POLICIES
from edgeexit.calibrate.records import ExitRecords
from edgeexit.calibrate.sweep import at_most
from edgeexit.calibrate.units import in_random_order, unit_numbers
from edgeexit.errors import InputError

Subset = tuple[int, ...]
"""Exits from 1, ascending; the last one is among them."""


class Judge:
    """Looks at subsets, each once; finds what every sample gets from them.

    Attributes:
        outcomes: Quality ``(n,)`` of every sample by subset, averaged over the budgets; None
            where the subset cannot meet one of them.
        units: ``(n,)`` unit of each sample.
    """

    def __init__(
        self,
        records: ExitRecords,
        answers: Integers,
        flops: ExitFlops,
        budgets: tuple[float, ...],
        seed: int,
    ) -> None:
        rows = at_most(records, seed)
        self.records, self.answers = records.take(rows), answers[rows]
        self.flops, self.budgets = flops, budgets
        self.units = unit_numbers([self.records])[0]
        self._halves = in_random_order(self.units, seed) % 2
        self.policy = _policy(records)
        self.outcomes: dict[Subset, Array | None] = {}
        least = int(min((self._halves == 0).sum(), (self._halves == 1).sum()))
        if least < MINIMUM_SAMPLES // 2:
            raise InputError(
                f"halved by whole groups, the data have a part of {least} samples; "
                f"{MINIMUM_SAMPLES // 2} is the least to choose exits by.",
                hint="give data with more groups.",
                code="selection.groups",
            )

    def __call__(self, kept: Subset) -> Array | None:
        """Return what a subset gives every sample."""
        if kept not in self.outcomes:
            records = keep_records(self.records, self.answers, kept)
            self.outcomes[kept] = self.judged(records, self.flops.table(kept))
        return self.outcomes[kept]

    def judged(self, records: ExitRecords, table: CostTable) -> Array | None:
        """Return quality ``(n,)`` by cross-fitting, averaged over the budgets."""
        if table.per_exit[0] > self.budgets[0]:
            return None
        found = np.zeros(len(records))
        for half in (0, 1):
            rows = np.flatnonzero(self._halves == half)
            fitted = records.take(np.flatnonzero(self._halves != half))
            found[rows] = self._quality(fitted, records.take(rows), table)
        return found

    def _quality(self, fitted: ExitRecords, judged: ExitRecords, table: CostTable) -> Array:
        """Return quality of each judged sample, where their mean cost is the budget."""
        dearest = table.per_exit[-1]
        values = [min(value, dearest) for value in self.budgets]
        at = Budget(values[0]) if len(values) == 1 else None
        family = fit_family(fitted, [table], policy=self.policy, budget=at)
        family = remeasured(family, judged)
        scores = gate_scores(judged, family.params)
        found = np.zeros(len(judged))
        for value in values:
            position = family.position(Budget(value))
            low = int(position)
            for row, weight in ((low, 1 - position + low), (low + 1, position - low)):
                if weight:
                    exits = leave(scores, family.thresholds[row].astype(np.float32))
                    found += weight * judged.quality[np.arange(len(judged)), exits]
        return found / len(values)

    def means(self) -> dict[Subset, float]:
        """Return mean quality of the subsets that meet all budgets, in the order looked at."""
        found = self.outcomes.items()
        return {kept: float(value.mean()) for kept, value in found if value is not None}

    def difference(self, first: Subset, second: Subset) -> tuple[float, float] | None:
        """Return by how many points the first subset is better, and the standard error.

        The error is that of a mean over independent units, the fits taken as they are. None where
        one of the two cannot meet the budgets.
        """
        one, other = self(first), self(second)
        if one is None or other is None:
            return None
        return 100 * float((one - other).mean()), 100 * standard_error(one - other, self.units)


def standard_error(values: Array, units: Integers) -> float:
    """Return the standard error of the mean of samples that come in independent units.

    That of a ratio of sums over units (Cochran, "Sampling Techniques", 1977, section 6.5).

    Args:
        values: ``(n,)``.
        units: ``(n,)`` unit of each sample.
    """
    codes = np.unique(units, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(codes, values - values.mean())
    count = len(sums)
    return float(np.sqrt((sums**2).sum() * count / max(count - 1, 1)) / len(values))


def _policy(records: ExitRecords) -> str:
    """Return the default policy, or the first one that suits the gate."""
    names = (DEFAULT_POLICY, *POLICIES)
    found = next((name for name in names if POLICIES[name].suits(records.gate)), None)
    if found is None:
        raise InputError(
            f"no exit policy suits gate {records.gate.name!r}, so exits cannot be chosen.",
            hint="compile with --gate statistics.",
            code="policy.gate",
        )
    return found


def mean_of(outcomes: Array | None) -> float:
    """Return mean quality, minus infinity where a subset cannot meet the budgets."""
    return -np.inf if outcomes is None else float(outcomes.mean())

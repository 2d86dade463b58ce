"""The best thresholds at one budget, free of the family: what one knob for all budgets loses."""

from __future__ import annotations

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable, ExitFamily, ExitSettings
from edgeexit.calibrate.nesting import Array, at_ranks, gate_scores, leave
from edgeexit.calibrate.policies.lagrangian import PRICES, Search
from edgeexit.calibrate.policies.soft import targets
from edgeexit.calibrate.records import ExitRecords

_STEPS = 25
"""Bisection steps on the price, then between the two solutions next to the budget."""


def best_settings(
    records: ExitRecords, family: ExitFamily, table: CostTable, budget: Budget
) -> ExitSettings:
    """Return a family's gate parameters with thresholds of their own for one budget.

    They solve the same Lagrangian problem as :func:`priced_thresholds`, but for this budget alone:
    between the two prices whose solutions enclose it, the fractions held back are mixed so that
    the mean cost is the budget. Nothing is made nested: a sample may leave earlier at a larger
    budget.

    Args:
        records: Exit records that the family was fitted on.
        family: Gives the parameters.
        table: Costs of the exits.
        budget: The mean cost to meet on the records.
    """
    scores = gate_scores(records, family.params)
    costs = np.asarray(table.per_exit)
    search = Search(scores, targets(records).astype(np.float64), costs / costs[-1])
    ascending = np.sort(scores, axis=0)

    def at(held: Array) -> Array:
        ranks = np.rint(held * len(scores)).astype(np.int64)
        columns = [at_ranks(ascending[:, k], ranks[k : k + 1]) for k in range(len(ranks))]
        return np.concatenate(columns)

    low, high = _enclosing(search, scores.shape[1], budget.value / costs[-1])
    below, above = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (below + above) / 2
        thresholds = at(low + middle * (high - low)).astype(np.float32)
        dear = costs[leave(scores, thresholds)].mean() > budget.value
        below, above = (below, middle) if dear else (middle, above)
    params = tuple(np.asarray(vector, dtype=np.float32) for vector in family.params)
    return ExitSettings(params, at(low + below * (high - low)).astype(np.float32))


def _enclosing(search: Search, gates: int, cost: float) -> tuple[Array, Array]:
    """Return held-back fractions ``(K - 1,)`` at a price just too high, and at one just too low.

    Beyond the highest price nothing is held back, beyond the lowest everything.
    """
    cheap, dear = np.zeros(gates), np.ones(gates)
    low, high = np.log(PRICES)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        held, _, spent = search.solve(float(np.exp(middle)))
        if spent <= cost:
            high, cheap = middle, held
        else:
            low, dear = middle, held
    return cheap, dear

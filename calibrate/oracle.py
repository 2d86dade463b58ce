"""The oracle: what exits could reach if one knew beforehand which of them is right."""

from __future__ import annotations

import numpy as np

from edgeexit.calibrate.nesting import Array
from edgeexit.calibrate.records import Floats


def oracle_quality(quality: Floats, costs: Array, budgets: Array) -> Array:
    """Return the best mean quality ``(B,)`` that any choice of exits has within each budget.

    Every sample starts at exit 1. What it can gain at later exits, it gains along the upper hull
    of its (cost, quality) points; such steps, from the most gain a cost to the least, are taken
    until the budget is spent, the last one in part. That is optimal: the fractional knapsack
    problem (Dantzig, 1957).

    Args:
        quality: ``(n, K)``.
        costs: ``(K,)``, rising.
        budgets: ``(B,)`` mean costs of at least c_1.
    """
    spent, gained = _steps(quality.astype(np.float64), costs)
    order = np.argsort(-gained / spent, kind="stable")
    cost = costs[0] + np.concatenate([[0.0], np.cumsum(spent[order])]) / len(quality)
    best = np.concatenate([[0.0], np.cumsum(gained[order])]) / len(quality)
    start = quality[:, 0].mean(dtype=np.float64)
    found: Array = start + np.interp(budgets, cost, best)
    return found


def _steps(quality: Array, costs: Array) -> tuple[Array, Array]:
    """Return cost and gain of each step along each sample's hull."""
    spent, gained = [], []
    at = np.zeros(len(quality), dtype=np.int64)
    rows = np.arange(len(quality))
    for _ in range(len(costs) - 1):
        rise = quality - quality[rows, at][:, None]
        run = costs[None, :] - costs[at][:, None]
        slope = np.where(run > 0, rise / np.where(run > 0, run, 1.0), -np.inf)
        to = slope.argmax(axis=1)
        moving = slope[rows, to] > 0
        if not moving.any():
            break
        spent.append(run[rows, to][moving])
        gained.append(rise[rows, to][moving])
        at = np.where(moving, to, at)
    if not spent:
        return np.ones(1), np.zeros(1)
    return np.concatenate(spent), np.concatenate(gained)

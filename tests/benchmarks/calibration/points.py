"""Calibration without a guarantee: how near the mean cost of new data comes to the budget."""

from __future__ import annotations

import numpy as np

from edgeexit.budget import Budget
from edgeexit.calibrate import fit_family
from edgeexit.calibrate.policies import DEFAULT_POLICY
from tests.benchmarks.calibration.guarantee import truth
from tests.benchmarks.calibration.page import Goal, Table
from tests.benchmarks.calibration.pools import POOLS, Pool
from tests.benchmarks.rows import Effort

TITLE = "Without a guarantee: how near the realised cost is to the budget"
NOTE = (
    f"Policy {DEFAULT_POLICY}, 200 draws a row. Each draw takes n samples from the pool with "
    "replacement and calibrates at the budget; the truth is the mean cost of the whole pool at the "
    "thresholds that came out. *Over* is the share of draws that spend more than the budget."
)

DRAWS = 200
SIZES = (5000,)
BUDGETS = (0.3, 0.5, 0.7)
NEAR, WANTED_AT, WANTED = 0.01, 5000, 0.95


def run(effort: Effort, name: str) -> Table:
    """Return the table of a pool."""
    draws = 6 if effort.quick else DRAWS
    rows, goals, values = [], [], []
    pool = POOLS[name](effort.tell)
    for size in SIZES[:1] if effort.quick else SIZES:
        for budget in BUDGETS:
            if not pool.table.per_exit[0] < budget < pool.table.per_exit[-1]:
                continue
            effort.tell(f"points: {pool.title}, n = {size}, budget {budget}")
            off = _distances(pool, size, Budget(budget), draws)
            near = float((np.abs(off) <= NEAR).mean())
            over = float((off > 0).mean())
            rows.append(
                [
                    pool.title, f"{size:,}", f"{budget}", f"{100 * near:.1f} %",
                    f"{np.abs(off).mean():.4f}", f"{np.abs(off).max():.4f}",
                    f"{100 * over:.0f} %",
                ]
            )  # fmt: skip
            values.append(
                {"pool": name, "samples": size, "budget": budget, "near": near, "over": over,
                 "mean_distance": float(np.abs(off).mean())}
            )  # fmt: skip
            if size == WANTED_AT:
                what = f"{pool.title}, n = {size:,}, B = {budget}, within {NEAR}"
                wanted = f"≥ {100 * WANTED:g} % of {DRAWS} draws"
                goals.append(Goal(what, f"{100 * near:.1f} %", wanted, near >= WANTED))
    columns = ("pool", "n", "budget", f"within {NEAR}", "mean distance", "largest", "over")
    return Table(f"{TITLE}: {pool.title}", NOTE, columns, rows, goals, values)


def _distances(
    pool: Pool, size: int, budget: Budget, draws: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the true mean cost less the budget, for each draw."""
    found = []
    for seed in range(draws):
        records = pool.draw(size, np.random.default_rng([seed, size]))
        family = fit_family(records, [pool.table], budget=budget)
        found.append(truth(family, pool, budget)[0] - budget.value)
    return np.array(found)

"""All policies on one table: accuracy at equal cost, on samples that they were not fitted on."""

from __future__ import annotations

import numpy as np

from edgeexit.budget import Budget
from edgeexit.calibrate import ExitRecords, fit_family
from edgeexit.calibrate.family import remeasured
from edgeexit.calibrate.policies import DEFAULT_POLICY, POLICIES
from tests.benchmarks.calibration.page import Goal, Table
from tests.benchmarks.calibration.pools import POOLS, Pool
from tests.benchmarks.rows import Effort

TITLE = "All policies side by side"
NOTE = (
    "Accuracy in per cent at exactly the budget. The pool is halved at random; n samples are drawn "
    "with replacement from one half, every policy is fitted at the budget on them and judged on "
    "the other half, at the point of its curve there that costs the budget. 16 such draws a row. "
    "In brackets: points above the default, ± the standard error over the draws; all draws share "
    "one pool, so tenths of a point may be chance even where that error is small."
)

DRAWS = 16
SIZES = (200, 1000, 5000)
BUDGETS = (0.3, 0.5, 0.7)
MOST_BEHIND, WANTED_FROM = 0.1, 1000

Cell = np.ndarray[tuple[int], np.dtype[np.float64]]


def run(effort: Effort, name: str) -> Table:
    """Return the table of a pool."""
    draws = 2 if effort.quick else DRAWS
    rows, goals, values = [], [], []
    pool = POOLS[name](effort.tell)
    policies = [each for each, policy in POLICIES.items() if policy.suits(pool.records.gate)]
    for size in SIZES[:1] if effort.quick else SIZES:
        effort.tell(f"policies: {pool.title}, n = {size}, {draws} draws")
        found = _accuracies(pool, size, policies, draws)
        for budget in BUDGETS:
            cells = {policy: found[policy, budget] for policy in policies}
            rows.append([f"{name}, n = {size:,}, B = {budget}", *_texts(cells)])
            values.append(
                {"pool": name, "samples": size, "budget": budget}
                | {policy: float(cell.mean()) for policy, cell in cells.items()}
            )
            if size >= WANTED_FROM:
                goals.append(_goal(f"{name}, n = {size:,}, B = {budget}", cells))
    return Table(f"{TITLE}: {pool.title}", NOTE, ("cell", *policies), rows, goals, values)


def _accuracies(
    pool: Pool, size: int, policies: list[str], draws: int
) -> dict[tuple[str, float], Cell]:
    """Return accuracies in per cent, one a draw, by policy and budget."""
    found: dict[tuple[str, float], list[float]] = {}
    for draw in range(draws):
        fitting, judging = _halves(pool, size, draw)
        for policy in policies:
            for budget in BUDGETS:
                family = fit_family(fitting, [pool.table], policy=policy, budget=Budget(budget))
                judged = remeasured(family, judging)
                value = np.interp(budget, judged.curve("flops"), judged.quality)
                found.setdefault((policy, budget), []).append(100 * float(value))
    return {key: np.array(values) for key, values in found.items()}


def _halves(pool: Pool, size: int, draw: int) -> tuple[ExitRecords, ExitRecords]:
    """Return a draw from one half of the pool, and the other half."""
    count = len(pool.records)
    order = np.random.default_rng([draw // 2, 1]).permutation(count)
    halves = [order[: count // 2], order[count // 2 :]]
    drawn = np.random.default_rng([draw, size]).choice(halves[draw % 2], size)
    return pool.records.take(drawn), pool.records.take(halves[1 - draw % 2])


def _texts(cells: dict[str, Cell]) -> list[str]:
    default = cells[DEFAULT_POLICY]
    texts = []
    for policy, cell in cells.items():
        lead = cell - default
        error = lead.std(ddof=1) / np.sqrt(len(lead))
        extra = "" if policy == DEFAULT_POLICY else f" ({lead.mean():+.2f} ± {error:.2f})"
        texts.append(f"{cell.mean():.2f}{extra}")
    return texts


def _goal(what: str, cells: dict[str, Cell]) -> Goal:
    best = max(cells, key=lambda policy: float(cells[policy].mean()))
    behind = float(cells[best].mean() - cells[DEFAULT_POLICY].mean())
    value = f"{behind:.2f} points behind {best}" if best != DEFAULT_POLICY else "is the best"
    return Goal(
        f"{what}, the default", value, f"≤ {MOST_BEHIND:g} point behind the best policy",
        behind <= MOST_BEHIND,
    )  # fmt: skip

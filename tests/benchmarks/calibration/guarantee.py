"""Certified budgets over many draws: how often they are exceeded, and how much of them is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.exits import ExitFamily
from edgeexit.calibrate import ExitRecords, simulate
from edgeexit.calibrate.guarantee import fit_certified_family
from edgeexit.calibrate.promise import Promise
from edgeexit.errors import InputError
from tests.benchmarks.calibration.page import Goal, Table
from tests.benchmarks.calibration.pools import POOLS, Pool
from tests.benchmarks.rows import Effort

TITLE = "`--guarantee 0.95`: how often a certified budget is exceeded"
NOTE = (
    "Budget 0.5, 1,000 draws a row. Each draw takes n samples (or clips of 20 frames) from the "
    "pool with replacement, fits and certifies a family, and sets the dial to 0.5; the truth is "
    "the mean cost of the whole pool there. A refused draw counts as one that leaves everything at "
    "exit 1."
)

BUDGET, CONFIDENCE, DRAWS = Budget(0.5), 0.95, 1000
SIZES = (200, 1000, 5000)
CLIPS = (50, 100)
FRAMES = 20
FURTHER = 5000
"""Unlabelled samples of the row that has some."""

MOST_OFTEN, AMONG_DRAWS = 0.05, 0.064
"""Wanted share of draws over budget, and what may be seen in 1,000 draws where it is kept."""

LEAST_USED, USED_AT = 0.94, 1000


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        samples: Samples a draw; 0 where clips are drawn.
        clips: Clips a draw.
        unlabelled: Further samples a draw.
    """

    samples: int = 0
    clips: int = 0
    unlabelled: int = 0

    @property
    def title(self) -> str:
        """How the table calls it."""
        if self.clips:
            return f"{self.clips} clips"
        more = f" + {self.unlabelled:,} unlabelled" if self.unlabelled else ""
        return f"{self.samples:,} samples{more}"


@dataclass(frozen=True)
class Outcome:
    """What many draws gave.

    Attributes:
        costs: ``(draws,)`` true mean cost of each.
        refused: How many were refused.
        quality: Mean true quality of those that were not.
    """

    costs: np.ndarray[tuple[int], np.dtype[np.float64]]
    refused: int
    quality: float

    @property
    def exceeded(self) -> float:
        """Share of draws whose true mean cost is above the budget."""
        return float((self.costs > BUDGET.value).mean())


def run(effort: Effort, name: str) -> Table:
    """Return the table of a pool."""
    draws = 12 if effort.quick else DRAWS
    cases = [
        *(Case(samples=size) for size in SIZES),
        Case(samples=USED_AT, unlabelled=FURTHER),
        *(Case(clips=count) for count in CLIPS),
    ]
    rows, goals, values = [], [], []
    pool = POOLS[name](effort.tell)
    for case in cases[:2] if effort.quick else cases:
        effort.tell(f"guarantee: {pool.title}, {case.title}, {draws} draws")
        found = outcome(pool, case, draws)
        effort.tell(f"  exceeded {found.exceeded:.3f}, mean cost {found.costs.mean():.4f}")
        rows.append(_row(pool, case, found))
        goals += _goals(pool, case, found)
        values.append(
            {
                "pool": name, "case": case.title, "draws": draws,
                "exceeded": found.exceeded, "cost": float(found.costs.mean()),
                "refused": found.refused, "quality": found.quality,
            }
        )  # fmt: skip
    columns = ("pool", "a draw", "exceeded", "mean cost / budget", "5 % to 95 %", "refused", "acc.")
    return Table(f"{TITLE}: {pool.title}", NOTE, columns, rows, goals, values)


def outcome(pool: Pool, case: Case, draws: int) -> Outcome:
    """Draw, certify and look at the truth, many times."""
    costs, quality, refused = [], [], 0
    for seed in range(draws):
        rng = np.random.default_rng([seed, case.samples, case.clips, case.unlabelled])
        records = (
            pool.clips(case.clips, FRAMES, rng) if case.clips else pool.draw(case.samples, rng)
        )
        further = pool.draw(case.unlabelled, rng) if case.unlabelled else None
        promise = Promise(CONFIDENCE, not case.clips, (BUDGET,))
        try:
            family = fit_certified_family(
                records, [pool.table], promise, unlabelled=further, seed=seed
            )
        except InputError:
            refused += 1
            costs.append(pool.table.per_exit[0])
            continue
        cost, good = truth(family, pool, BUDGET)
        costs.append(cost)
        quality.append(good)
    return Outcome(np.array(costs), refused, float(np.mean(quality)) if quality else float("nan"))


def truth(family: ExitFamily, pool: Pool, budget: Budget) -> tuple[float, float]:
    """Return the mean cost and quality of a budget over the whole pool."""
    return at_exits(pool, pool.records, family, budget)


def at_exits(
    pool: Pool, records: ExitRecords, family: ExitFamily, budget: Budget
) -> tuple[float, float]:
    """Return the mean cost and quality of a budget over some records."""
    exits = simulate(records, family.params, family.settings(budget).thresholds) - 1
    quality = records.quality[np.arange(len(records)), exits]
    return float(np.array(pool.table.per_exit)[exits].mean()), float(quality.mean(dtype=float))


def _row(pool: Pool, case: Case, found: Outcome) -> list[str]:
    used = found.costs / BUDGET.value
    low, high = np.percentile(used, (5, 95))
    return [
        pool.title, case.title, f"{100 * found.exceeded:.1f} %", f"{used.mean():.3f}",
        f"{low:.3f} to {high:.3f}", str(found.refused), f"{100 * found.quality:.2f} %",
    ]  # fmt: skip


def _goals(pool: Pool, case: Case, found: Outcome) -> list[Goal]:
    wanted = f"≤ {100 * MOST_OFTEN:g} % (≤ {100 * AMONG_DRAWS:g} % seen in 1,000 draws)"
    goals = [
        Goal(
            f"{pool.title}, {case.title}, exceeded", f"{100 * found.exceeded:.1f} %", wanted,
            found.exceeded <= AMONG_DRAWS,
        )
    ]  # fmt: skip
    if case.samples == USED_AT and not case.unlabelled:
        used = float(found.costs.mean()) / BUDGET.value
        what = f"{pool.title}, {case.title}, mean cost / budget"
        goals.append(Goal(what, f"{used:.3f}", f"≥ {LEAST_USED}", used >= LEAST_USED))
    return goals

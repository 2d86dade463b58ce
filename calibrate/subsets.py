"""Which exits a model should keep: a search over subsets, each judged out of sample.

An exit that is kept makes every sample that passes it pay for its head and its gate. Cutting it
refunds both. Exit records of the model with all exits tell what any subset of them would do. Costs
are counted FLOPs: what a head takes in time or energy on a device is not looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.bundle.selection import SCHEMA, ExitEntry, ExitSearch, Selection, Tried
from edgeexit.calibrate.costs import check_budget
from edgeexit.calibrate.kept_exits import ExitFlops
from edgeexit.calibrate.nesting import Integers
from edgeexit.calibrate.oracle import oracle_quality
from edgeexit.calibrate.records import ExitRecords
from edgeexit.calibrate.subset_judge import Judge, Subset, mean_of
from edgeexit.errors import BudgetError

BUDGETS = (0.3, 0.5, 0.7)
"""Without a budget, quality is averaged over those of these that all exits together can meet: the
dial will be turned, and a mean over a low, a middle and a high setting is what that asks for."""

EXHAUSTIVE_EXITS = 6
"""Up to so many exits all subsets are tried, 31 at most; beyond, exits are dropped one by one."""


def search_exits(
    records: ExitRecords,
    answers: Integers,
    flops: ExitFlops,
    names: Sequence[str],
    budget: Budget | None = None,
    *,
    exhaustive_exits: int = EXHAUSTIVE_EXITS,
    seed: int = 0,
) -> Selection:
    """Return the exits to keep; the last one and at least one other always stay.

    Each subset has the default policy fitted on either half of the units and is judged on the
    other, at the point of the curve there that costs the budget, with its own cumulative costs. A
    subset that cannot meet a budget that all exits together can is out. Of the subsets whose
    distance to the best is within its standard error, the one with the fewest exits is taken (the
    one-standard-error rule of Breiman et al., "Classification and Regression Trees", 1984).

    Args:
        records: Exit records of the model with all K exits.
        answers: ``(n, K)`` top class of every exit, in the records' order.
        flops: What the model's parts cost.
        names: K names of the exits.
        budget: The mean cost to be good at; by default several, see :data:`BUDGETS`.
        exhaustive_exits: Most exits for which all subsets are tried.
        seed: Halves the units.

    Raises:
        BudgetError: The budget is not a fraction of FLOPs, or outside what all exits can meet.
        InputError: There are too few independent units, or no policy suits the gate.
    """
    every = tuple(range(1, flops.exits + 1))
    judge = Judge(records, answers, flops, _budgets(flops.table(every), budget), seed)
    judge(every)
    if flops.exits <= exhaustive_exits:
        for count in range(1, flops.exits - 1):
            for early in itertools.combinations(every[:-1], count):
                judge((*early, every[-1]))
    else:
        _drop_one_by_one(judge, every)
    kept: Subset = ()
    # What single exits are worth may bring up subsets that a greedy search has not looked at.
    while kept != (kept := _fewest(judge)):
        entries = tuple(_entry(judge, flops, number, names[number - 1], kept) for number in every)
    return Selection(SCHEMA, "searched", entries, _report(judge, every, kept, exhaustive_exits))


def _budgets(table: CostTable, budget: Budget | None) -> tuple[float, ...]:
    """Return the budgets to judge at, ascending."""
    if budget is None:
        low, high = table.per_exit[0], table.per_exit[-1]
        return tuple(value for value in BUDGETS if low <= value <= high) or ((low + high) / 2,)
    if budget.kind != "flops":
        raise BudgetError(
            f"exits are chosen by counted cost, and {budget} is none.",
            hint="give a fraction of the static model, such as --budget 0.5.",
            code="budget.kind",
        )
    check_budget(budget, table)
    return (max(budget.value, table.per_exit[0]),)


def _drop_one_by_one(judge: Judge, kept: Subset) -> None:
    """Look at subsets along the path that always drops the exit whose loss costs least."""
    while len(kept) > 2:
        shorter = [tuple(each for each in kept if each != gone) for gone in kept[:-1]]
        quality = {subset: mean_of(judge(subset)) for subset in shorter}
        kept = max(shorter, key=lambda subset: quality[subset])
        if quality[kept] == -np.inf:
            return


def _best(means: Mapping[Subset, float]) -> Subset:
    """Return the best subset; of equals the one with the fewest exits."""
    return max(means, key=lambda kept: (means[kept], -len(kept)))


def _fewest(judge: Judge) -> Subset:
    """Return the fewest exits whose distance to the best subset is within its standard error."""
    means = judge.means()
    best = _best(means)
    near = []
    for kept in means:
        found = judge.difference(best, kept)
        if found is not None and found[0] <= found[1] + 1e-9:
            near.append(kept)
    return min(near, key=lambda kept: (len(kept), -means[kept]))


def _entry(judge: Judge, flops: ExitFlops, number: int, name: str, kept: Subset) -> ExitEntry:
    """Return what an exit is worth beside the kept ones."""
    if number == flops.exits:
        return ExitEntry(number, name, kept=True)
    without = tuple(each for each in kept if each != number)
    found = None
    if len(without) > 1:
        found = judge.difference(tuple(sorted((*without, number))), without)
    gain, error = found or (None, None)
    return ExitEntry(number, name, number in kept, flops.added(number, kept), gain, error)


def _report(judge: Judge, every: Subset, kept: Subset, exhaustive_exits: int) -> ExitSearch:
    """Return how the search went."""
    means = judge.means()
    best = _best(means)
    exhaustive = len(every) <= exhaustive_exits
    gain, gain_error = judge.difference(kept, every) or (0.0, 0.0)
    given_up, given_up_error = judge.difference(best, kept) or (0.0, 0.0)
    gap, relaxed = (0.0, None) if exhaustive else _gaps(judge, means[best])
    return ExitSearch(
        method="exhaustive" if exhaustive else "greedy",
        subsets=2 ** (len(every) - 1) - 1,
        budgets=judge.budgets,
        policy=judge.policy,
        quality_kind=judge.records.quality_kind,
        samples=len(judge.records),
        tried=tuple(_tried(judge, best, means, judge.outcomes)),
        quality=means[kept],
        gain=gain,
        gain_error=gain_error,
        given_up=given_up,
        given_up_error=given_up_error,
        gap=gap,
        relaxed_gap=relaxed,
    )


def _gaps(judge: Judge, best: float) -> tuple[float, float]:
    """Return how far beyond the best found any subset could be, and is likely to be, in points.

    No subset leaves at an exit for less than that exit needs by itself. At those costs the oracle
    over all exits is above every policy over every subset, and the policy that was fitted is
    where heads and gates that a sample passes cost nothing.
    """
    free = judge.flops.alone()
    budgets = np.asarray(judge.budgets)
    oracle = oracle_quality(judge.records.quality, np.asarray(free), budgets).mean()
    relaxed = judge.judged(judge.records, CostTable("flops", free, 1.0))
    return max(0.0, 100 * float(oracle - best)), max(0.0, 100 * (mean_of(relaxed) - best))


def _tried(
    judge: Judge, best: Subset, means: Mapping[Subset, float], subsets: Iterable[Subset]
) -> Iterable[Tried]:
    """Yield the subsets that were looked at, the best first."""
    for kept in sorted(subsets, key=lambda subset: (-means.get(subset, -1.0), len(subset), subset)):
        behind, error = judge.difference(best, kept) or (None, None)
        yield Tried(kept, means.get(kept), behind, error)

"""What to ship: early exits at some budget, a model cut at an exit, or the static model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeexit.calibrate.policies import DEFAULT_POLICY, POLICIES
from edgeexit.calibrate.sweep import Sweep, SweptPoint

Choice = Literal["exits", "cut", "static"]

WORTHWHILE = 0.95
"""Early exits that cost more than this share of a simpler model are not worth their trouble."""


@dataclass(frozen=True)
class Verdict:
    """What a sweep advises, for a drop that is allowed.

    Attributes:
        choice: ``exits``: early exits. ``cut``: the model cut at one exit, without the others.
            ``static``: the whole static model.
        max_drop: Percentage points of quality that may be lost against the last exit.
        relative: Cost of the choice, as a fraction of the static model's. A cut model's is that
            of leaving at its exit, which is a little more than its own.
        quality: Its quality, a fraction, on samples that nothing was fitted on.
        policy: The policy, for ``exits``.
        point: Its point, for ``exits``.
        exit: Number of the exit, from 1, for ``cut``.
        better: A policy that is better than the default at this point beyond chance, or None.
        truncate: For ``cut`` and ``static``: what ``edgeexit compile MODEL --truncate`` takes to
            make it, the exit's number in the model that was compiled.
    """

    choice: Choice
    max_drop: float
    relative: float
    quality: float
    policy: str | None = None
    point: SweptPoint | None = None
    exit: int | None = None
    better: str | None = None
    truncate: int | None = None


def judge(found: Sweep, max_drop: float, numbers: Sequence[int] = ()) -> Verdict:
    """Return what to ship: the simplest of those that cost about as little as any.

    Args:
        found: A sweep.
        max_drop: Percentage points of quality that may be lost against the last exit.
        numbers: The exits' numbers in the model that was compiled; 1 to K unless given.
    """
    numbers = numbers or range(1, len(found.per_exit) + 1)
    static = found.kind_table.static
    least = float(found.per_exit[-1, 0]) - max_drop / 100
    relative = [cost / static for cost in found.kind_table.per_exit]
    good = [number for number, quality in enumerate(found.per_exit[:-1, 0], 1) if quality >= least]
    last = float(found.per_exit[-1, 0])
    simple = Verdict("static", max_drop, 1.0, last, truncate=numbers[-1])
    if good and relative[good[0] - 1] < 1:
        cut = good[0]
        quality = float(found.per_exit[cut - 1, 0])
        cost, number = relative[cut - 1], numbers[cut - 1]
        simple = Verdict("cut", max_drop, cost, quality, exit=cut, truncate=number)
    policy = DEFAULT_POLICY if DEFAULT_POLICY in found.points else next(iter(found.points))
    kept = [point for point in found.points[policy] if point.quality >= least]
    if not kept or kept[0].cost / static > WORTHWHILE * simple.relative:
        return simple
    return Verdict(
        "exits",
        max_drop,
        kept[0].cost / static,
        kept[0].quality,
        policy,
        kept[0],
        better=_better(found, found.points[policy].index(kept[0])),
    )


def _better(found: Sweep, place: int) -> str | None:
    """Return the policy with the largest lead over the default that chance does not explain."""
    leads = {name: points[place] for name, points in found.points.items()}
    sure = [name for name, point in leads.items() if point.lead_low > 0 and name in POLICIES]
    return max(sure, key=lambda name: leads[name].lead) if sure else None

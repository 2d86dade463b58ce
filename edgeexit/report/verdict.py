"""What to ship, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeexit.calibrate.frontier import DEFAULT_MAX_DROP
from edgeexit.calibrate.verdict import WORTHWHILE
from edgeexit.report.operating import Operating, Place

Choice = Literal["exits", "cut", "static", "calibrate"]


@dataclass(frozen=True)
class Advice:
    """What a report advises.

    Attributes:
        choice: ``exits``: ship early exits. ``cut``: the model cut at one exit. ``static``: the
            static model. ``calibrate``: nothing yet, the exits are not calibrated.
        sentence: The same in words.
    """

    choice: Choice
    sentence: str


@dataclass(frozen=True)
class Case:
    """What there is to judge, all on the same data.

    Attributes:
        curve: The family's curve, from cheap to dear; empty without calibrated exits.
        exits: Each exit alone.
        static: The static model.
        budget: The budget in force in words, marked where it is estimated, or None.
        point: What it does, or None.
        unit: What costs are fractions of, e.g. ``FLOPs``.
        quality: ``accuracy`` or ``agreement``.
        milliseconds: Mean latency at the budget, and that of the static model; None where
            unknown.
        numbers: The exits' numbers in the model that was compiled; 1 to K unless given.
    """

    curve: Sequence[Place]
    exits: Sequence[Place]
    static: Place
    budget: str | None
    point: Operating | None
    unit: str
    quality: str
    milliseconds: tuple[float, float] | None
    numbers: Sequence[int] = ()

    def truncated(self, number: int) -> str:
        """Return how to make the model cut at an exit, from 1, of the bundle."""
        model = self.numbers[number - 1] if self.numbers else number
        return f"edgeexit compile MODEL --truncate {model}"


def advise(case: Case, max_drop: float = DEFAULT_MAX_DROP) -> Advice:
    """Return what to ship: the simplest of those that cost about as little as any.

    Args:
        case: The numbers.
        max_drop: Percentage points of quality that may be lost against the static model.
    """
    if not case.curve:
        return Advice(
            "calibrate",
            "Nothing to ship yet: the exits are not calibrated, so every sample goes to the last "
            f"exit, at {case.exits[-1].cost:.2f} of the static model's {case.unit}.",
        )
    least = case.static.quality - max_drop / 100 - 1e-12
    good = [number for number, each in enumerate(case.exits[:-1], 1) if each.quality >= least]
    simple = case.exits[good[0] - 1] if good and case.exits[good[0] - 1].cost < 1 else None
    kept = next((place for place in case.curve if place.quality >= least), None)
    if kept is None or kept.cost > WORTHWHILE * (simple.cost if simple else 1.0):
        return _simple(case, simple, good, max_drop)
    if case.milliseconds is not None and case.point is not None:
        ours, static = case.milliseconds
        if ours > WORTHWHILE * static:
            return Advice(
                "static",
                f"Ship the static model: at budget {case.budget} the exits save "
                f"{_percent(1 - case.point.place.cost)} of the {case.unit} but next to no time "
                f"here ({ours:.3g} ms a sample, static model {static:.3g} ms). "
                f"To make it: {case.truncated(len(case.exits))}.",
            )
    return Advice("exits", _exits(case, kept, max_drop))


def _simple(case: Case, cut: Place | None, good: Sequence[int], max_drop: float) -> Advice:
    if cut is not None:
        return Advice(
            "cut",
            f"Ship the model cut at exit {good[0]}: it alone has {case.quality} "
            f"{_percent(cut.quality)} at {cut.cost:.2f} of the static model's {case.unit}, and "
            f"early exits save next to nothing beyond it. To make it: {case.truncated(good[0])}.",
        )
    return Advice(
        "static",
        f"Ship the static model: no setting of the exits keeps {case.quality} within "
        f"{max_drop:g} points of its {_percent(case.static.quality)} and saves more than "
        f"{_percent(1 - WORTHWHILE)} of its {case.unit}. To make it: "
        f"{case.truncated(len(case.exits))}.",
    )


def _exits(case: Case, kept: Place, max_drop: float) -> str:
    other = (
        f"{kept.cost:.2f} of the static model's {case.unit} is the least that keeps {case.quality} "
        f"within {max_drop:g} points of its {_percent(case.static.quality)}"
    )
    if case.budget is None or case.point is None:
        return f"Ship early exits, with a budget, which is not set yet: {other}."
    found = (
        f"{case.quality} {_percent(case.point.place.quality)} at {case.point.place.cost:.2f} of "
        f"the static model's {case.unit}, {_points(case.point)}"
    )
    if case.point.drop <= max_drop:
        return f"Ship early exits at budget {case.budget}: {found}."
    return f"Ship early exits, but raise the budget: {case.budget} gives {found}; {other}."


def _points(point: Operating) -> str:
    """Return what is lost or won against the static model."""
    lost = round(point.drop, 1)
    size = (
        "as good as it"
        if lost == 0
        else f"{abs(lost):g} points {'below' if lost > 0 else 'above'} it"
    )
    if point.drop_low is None or point.drop_high is None:
        return size
    low, high = (round(-end, 1) + 0.0 for end in (point.drop_high, point.drop_low))
    return f"{size} (95 % interval {low:+.1f} to {high:+.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

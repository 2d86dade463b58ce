"""One goal being held: what inputs cost, the law that learns of it, the thresholds it sets."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.exits import CostTable, ExitFamily
from edgeexit.errors import BudgetError
from edgeexit.runtime.dial import check_device
from edgeexit.runtime.goals import Goal, Joules, Reserve
from edgeexit.runtime.law import Law, Lookup
from edgeexit.runtime.reserve import EnergyBook, Meter

RECENT = 500
"""Calls in the moving average."""

_MILLISECONDS_A_SECOND = 1000.0

_COUNTED: Mapping[str, CostKind] = {"flops": "flops", "mJ": "energy"}
"""Units that are counted by the table of their kind; the others are measured as it goes."""

Side = Literal["", "cheapest", "dearest"]


@dataclass(frozen=True)
class Tuning:
    """How a goal is held.

    Attributes:
        eta: The law's step.
        hysteresis: How far u moves before the thresholds do, as a fraction of c_K - c_1.
        meter: Returns joules counted so far, or None.
        meter_seconds: Shortest time between two readings of it.
        clock: Seconds that only ever rise.
    """

    eta: float
    hysteresis: float
    meter: Meter | None
    meter_seconds: float
    clock: Callable[[], float]


class Control:
    """Holds one goal with one family. One thread at a time.

    Args:
        family: The calibrated exits.
        goal: The goal.
        tuning: How to hold it.
        fingerprint: This device, for tables in milliseconds and millijoules.
        near: A budget to begin at where the goal's unit has no table; None begins in the middle.
        before: What held the goal before, whose knowledge of drift and speed is kept.

    Attributes:
        setting: The thresholds in force.
        unit: ``flops``, ``ms``, ``mJ`` (both counted by a table) or ``J`` (metered).
        calls: Calls noted.
        inputs: Inputs noted.
        words: The goal in words; says *estimated* where the table that counts it is.
        moves: How often the thresholds were moved.
        book: What the meter counted; None where nothing is metered.

    Raises:
        BudgetError: The goal cannot be held with the family, or needs a meter.
    """

    def __init__(
        self,
        family: ExitFamily,
        goal: Goal,
        tuning: Tuning,
        fingerprint: str,
        near: Budget | None,
        before: Control | None,
    ) -> None:
        self.goal = goal
        self.words = family.stated(goal) if isinstance(goal, Budget) else str(goal)
        self.unit, kind = _unit_and_table(family, goal, fingerprint)
        self.lookup = Lookup(family, kind)
        _check_goal(goal, family.costs[kind], self.lookup, tuning.meter)
        self._kind = kind
        self._eta = tuning.eta
        self.law = self._first_law(near)
        self.book = None
        if self.unit == "J" and tuning.meter is not None:
            self.book = EnergyBook(tuning.meter, tuning.clock, tuning.meter_seconds)
        if before is not None and (before.unit, before._kind) == (self.unit, kind):
            self._follow(before.law)
        self._play = tuning.hysteresis * (self.lookup.high - self.lookup.low)
        self._costs = tuple(self.lookup.per_exit.tolist())
        self.calls = self.inputs = self.moves = 0
        self._spent, self._spent_on = 0.0, 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self._stands = self.law.aim
        self.setting = self.lookup.at(self._stands)

    @property
    def saturated(self) -> Side:
        """The side on which no setting can do more to reach the goal."""
        aim = self.law.aim
        if aim <= self.lookup.low:
            return "cheapest"
        return "dearest" if aim >= self.lookup.high else ""

    @property
    def mean(self) -> float | None:
        """Mean cost of the inputs; None before the first that was measured."""
        return self._spent / self._spent_on if self._spent_on else None

    @property
    def recent(self) -> float | None:
        """Mean cost of the inputs of the last calls (or windows of the meter)."""
        total = sum(count for _, count in self._recent)
        return sum(spent * count for spent, count in self._recent) / total if total else None

    @property
    def bound(self) -> float | None:
        """How far :attr:`mean` can be from the budget; see :class:`Law`. None if measured."""
        if self.unit not in _COUNTED or not self.inputs:
            return None
        reach = self.lookup.high - self.lookup.low
        return reach * (1 + self._eta) / (self._eta * self.inputs)

    def note(self, exits: npt.NDArray[np.int32], seconds: float, pending: int = 0) -> None:
        """Learn what a call cost, and move the thresholds if that is enough to.

        Args:
            exits: ``(n,)`` exits taken, from 1.
            seconds: How long the call took.
            pending: Inputs begun and not answered yet.
        """
        count = len(exits)
        tabled = self._costs[exits.item() - 1] if count == 1 else self.lookup.tabled(exits)
        self.calls += 1
        self.inputs += count
        if self.book is not None:
            self._note_metered(self.book, tabled, count, pending)
        elif self.unit == "ms":
            self._learn(seconds * _MILLISECONDS_A_SECOND / count, tabled, count, pending)
        else:
            self._learn(tabled, tabled, count, pending)
        self._move()

    def _note_metered(self, book: EnergyBook, tabled: float, count: int, pending: int) -> None:
        window = book.note(tabled, count)
        if window is None:
            return
        if isinstance(self.goal, Reserve):
            allowed = book.allowed(self.goal)
            # Once the time is over the last budget stands.
            self.law.budget = self.law.budget if allowed is None else allowed
        self._learn(window.joules, window.tabled, window.inputs, pending)

    def _learn(self, spent: float, tabled: float, count: int, pending: int) -> None:
        self.law.learn(spent, tabled, count, pending)
        self._spent += spent * count
        self._spent_on += count
        self._recent.append((spent, count))

    def _move(self) -> None:
        low, high = self.lookup.low, self.lookup.high
        aim = min(max(self.law.aim, low), high)
        # The ends count at once, hysteresis or not: the law's bound rests on them.
        if aim == self._stands or (low < aim < high and abs(aim - self._stands) <= self._play):
            return
        self._stands = aim
        setting = self.lookup.at(aim)
        self.moves += setting is not self.setting
        self.setting = setting

    def _first_law(self, near: Budget | None) -> Law:
        begin = (self.lookup.low + self.lookup.high) / 2
        if near is not None and near.kind == self._kind:
            begin = near.value
        if isinstance(self.goal, Reserve):
            return Law(begin, self._eta, 1.0, measured=True)
        value = self.goal.per_input if isinstance(self.goal, Joules) else self.goal.value
        tabled = isinstance(self.goal, Budget) and self.goal.kind == self._kind
        scale = 1.0 if tabled else value / begin
        return Law(value, self._eta, scale, measured=self.unit not in _COUNTED)

    def _follow(self, law: Law) -> None:
        """Keep what the law before has learnt; of what it owed, what the look-up can answer."""
        if isinstance(self.goal, Reserve):
            self.law.budget *= law.scale
        self.law.follow(law)
        aim = min(max(self.law.aim, self.lookup.low), self.lookup.high)
        self.law.offset += aim - self.law.aim


def _unit_and_table(family: ExitFamily, goal: Goal, fingerprint: str) -> tuple[str, CostKind]:
    """Return the unit that is held and the table by which thresholds are looked up.

    What is measured as it goes does with any table that rises with the exits; the one of its own
    kind, where this device has it, tells best how far they lie apart.
    """
    if isinstance(goal, Budget) and goal.kind in _COUNTED.values():
        check_device(family, goal, fingerprint)
        return next(unit for unit, kind in _COUNTED.items() if kind == goal.kind), goal.kind
    wanted: CostKind = "latency" if isinstance(goal, Budget) else "energy"
    table = family.costs.get(wanted)
    here = table is not None and table.fingerprint == fingerprint
    if not here and "flops" in family.costs:
        table = family.costs["flops"]
    kind = wanted if table is None else table.kind
    return "ms" if isinstance(goal, Budget) else "J", kind


def _check_goal(goal: Goal, table: CostTable, lookup: Lookup, meter: Meter | None) -> None:
    if not isinstance(goal, Budget):
        if meter is None:
            raise BudgetError(
                f"a governor cannot hold {goal} without a meter.",
                hint="give Governor(meter=...), a function that returns joules counted so far.",
                code="governor.meter",
            )
        return
    low, high = lookup.low, lookup.high
    # A device that slows down may well spend more milliseconds than the table's dearest exit.
    most = high if goal.kind in _COUNTED.values() else math.inf
    if goal.kind == table.kind and not low <= goal.value <= most:
        raise BudgetError(
            f"budget {goal} is outside what this model can do: its exits cost from "
            f"{table.stated(low)} to {table.stated(high)} on average.",
            hint="choose a budget between the two.",
            code="budget.bounds",
        )

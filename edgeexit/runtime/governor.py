"""The governor: holds an average cost against drift, load and throttling, call by call."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget
from edgeexit.bundle.exits import ExitFamily
from edgeexit.errors import BudgetError, InputError
from edgeexit.runtime.control import Control, Side, Tuning
from edgeexit.runtime.goals import Goal, Reserve, parse_goal
from edgeexit.runtime.law import LARGEST_STEP
from edgeexit.runtime.overrule import Overrule, Pace
from edgeexit.runtime.reserve import Meter
from edgeexit.runtime.result import Result
from edgeexit.runtime.setting import Setting
from edgeexit.runtime.tally import Overruled

_LOGGER = logging.getLogger("edgeexit")

_MILLISECONDS_A_SECOND = 1000.0

_VOIDED = "voided: a governor moves the thresholds, so the certified setting is not in force"


@dataclass(frozen=True)
class GovernorState:
    """What a governor is doing, as plain values.

    Attributes:
        goal: What it holds, in words.
        unit: ``flops`` (fractions of the static model), ``ms``, ``mJ`` or ``J``.
        aim: u, where the dial should stand, in the unit of the table that is looked up.
        scale: Measured units a table unit; 1 for what is counted, FLOPs and millijoules.
        saturated: ``cheapest`` or ``dearest`` where no setting can do more to reach the goal.
        calls: Calls since the goal was set.
        inputs: Inputs since then.
        mean: Their mean cost in ``unit``; None before the first. For joules, of ended windows.
        recent: Mean cost of the inputs of the last 500 calls (windows, for joules).
        bound: How far ``mean`` can be from a budget that is counted, whatever the inputs are, where
            they come one by one in one thread; None otherwise.
        moves: How often the thresholds were moved.
        audits: Inputs run to the end as audits.
        cut: Inputs let go because of the deadline.
        deadline_ms: Milliseconds a call may take; None without a deadline.
        meter_faults: Readings of the meter that were refused.
        joules_left: Of a reserve; None otherwise.
        seconds_left: Of a reserve; None otherwise.
        guarantee: Says that the family's certificate is void while a governor is in force; empty
            where there is none.
    """

    goal: str
    unit: str
    aim: float
    scale: float
    saturated: Side
    calls: int
    inputs: int
    mean: float | None
    recent: float | None
    bound: float | None
    moves: int
    audits: int
    cut: int
    deadline_ms: float | None
    meter_faults: int
    joules_left: float | None
    seconds_left: float | None
    guarantee: str


class Turn:
    """One call under a governor.

    Attributes:
        control: What holds the goal.
        setting: The setting the call runs at.
        guide: What overrules its gates, or None.
        start: When it began, by the governor's clock.
    """

    __slots__ = ("control", "guide", "setting", "start")

    def __init__(self, control: Control, guide: Overrule | None, start: float) -> None:
        self.control = control
        self.setting = control.setting
        self.guide = guide
        self.start = start


class Governor:
    """Holds a goal by moving the thresholds of the calibrated family. Threads may share it.

    Give it to ``Runtime(..., governor=...)`` or ``runtime.governor``. It works within the calls:
    no thread, no timer, no queue. It takes effect from call to call; in several threads a call
    may run at a setting that is as many calls old as there are threads.

    Args:
        budget: A budget in FLOPs, in milliseconds a call spends on an input, in the table's
            millijoules, :class:`Joules`, a :class:`Reserve`; None holds the runtime's own budget.
        meter: Returns joules counted so far; needed for the two goals in joules.
        deadline_ms: Milliseconds that a call may take: a sample leaves at the exit it has reached
            where the next should come too late. None sets none.
        audit: Rate of inputs that are run to the last exit (and answered by it), charged to the
            goal; 1 to 2 % show whether early answers are still like the last exit's.
        eta: The law's step: a shift is answered within about ``1 / eta`` inputs. The thresholds
            wander by ``sqrt(eta / 2)`` of the spread of costs, which costs accuracy where that
            falls steeply: 0.06 keeps any 500 inputs near the budget, 0.01 any 3,000.
        hysteresis: How far u moves before the thresholds do, as a fraction of c_K - c_1.
        meter_seconds: Shortest time between two readings of the meter.
        seed: Of the draw of audits.
        clock: Seconds that only ever rise.

    Raises:
        InputError: An argument is out of bounds.
        BudgetError: The goal is none.
    """

    def __init__(
        self,
        budget: Goal | float | str | None = None,
        *,
        meter: Meter | None = None,
        deadline_ms: float | None = None,
        audit: float = 0.01,
        eta: float = 0.06,
        hysteresis: float = 0.005,
        meter_seconds: float = 0.25,
        seed: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        _check(audit, eta, hysteresis, meter_seconds)
        self.deadline_ms = deadline_ms
        self.clock = clock
        self._goal = None if budget is None else parse_goal(budget)
        self._tuning = Tuning(eta, hysteresis, meter, meter_seconds, clock)
        self._audit = audit
        self._random = random.Random(seed)
        self._rows = np.random.default_rng(self._random.getrandbits(64))
        self._lock = threading.Lock()
        self._pace = Pace()
        self._control: Control | None = None
        self._family: ExitFamily | None = None
        self._fingerprint = ""
        self._audits = self._cut = 0
        self._tail = 0.0

    @property
    def budget(self) -> Goal | None:
        """The goal. Setting it takes effect at the next call; the state's counts restart.

        Raises:
            BudgetError: It cannot be held with the calibrated exits; the old one stays.
        """
        return self._goal

    @budget.setter
    def budget(self, budget: Goal | float | str) -> None:
        goal = parse_goal(budget)
        with self._lock:
            if self._family is not None:
                self._control = self._make(self._family, goal, None)
            self._goal = goal

    @property
    def deadline_ms(self) -> float | None:
        """Milliseconds that a call may take. Setting it takes effect at the next call.

        Raises:
            InputError: On setting: it is not above 0.
        """
        return self._deadline_ms

    @deadline_ms.setter
    def deadline_ms(self, deadline_ms: float | None) -> None:
        number = isinstance(deadline_ms, int | float)
        if deadline_ms is not None and (not number or not deadline_ms > 0):
            raise _wrong("deadline_ms", deadline_ms, "a number above 0, or None,")
        self._deadline_ms = deadline_ms

    @property
    def state(self) -> GovernorState:
        """What it is doing.

        Raises:
            InputError: No runtime has it yet.
        """
        with self._lock:
            control = self._controlled()
            book, goal = control.book, control.goal
            left = book.left(goal) if book is not None and isinstance(goal, Reserve) else None
            certified = self._family is not None and self._family.certificate is not None
            return GovernorState(
                goal=control.words,
                unit=control.unit,
                aim=control.law.aim,
                scale=control.law.scale,
                saturated=control.saturated,
                calls=control.calls,
                inputs=control.inputs,
                mean=control.mean,
                recent=control.recent,
                bound=control.bound,
                moves=control.moves,
                audits=self._audits,
                cut=self._cut,
                deadline_ms=self.deadline_ms,
                meter_faults=0 if book is None else book.faults,
                joules_left=None if left is None else left[0],
                seconds_left=None if left is None else left[1],
                guarantee=_VOIDED if certified else "",
            )

    def attach(self, family: ExitFamily | None, budget: Budget | None, fingerprint: str) -> None:
        """Take up the exits of a runtime; called by the runtime.

        Args:
            family: Its calibrated exits.
            budget: Its budget, which is held where the governor has no goal of its own.
            fingerprint: This device, for tables in milliseconds and millijoules.

        Raises:
            BudgetError: There is no family, no goal, or the goal cannot be held with it.
        """
        if family is None:
            raise BudgetError(
                "a governor needs calibrated exits, and this bundle has no exits.json.",
                hint="run: edgeexit calibrate BUNDLE --data DATA",
                code="budget.uncalibrated",
            )
        goal = self._goal or budget
        if goal is None:
            raise BudgetError(
                "the governor has no goal, and the runtime no budget that it could hold.",
                hint="write for example Governor(0.5).",
                code="governor.goal",
            )
        with self._lock:
            self._fingerprint = fingerprint
            self._control = self._make(family, goal, budget)
            self._family, self._goal = family, goal
        if family.certificate is not None:
            _LOGGER.warning("the guarantee of these exits is %s", _VOIDED)

    def begin(self, rows: int, start: float) -> Turn:
        """Return the setting for a call; called by the runtime.

        Args:
            rows: Samples.
            start: When the call began, by :attr:`clock`.
        """
        deadline = self.deadline_ms
        with self._lock:
            control = self._controlled()
            # At the first exit an audit could no more be paid for.
            rate = 0.0 if control.saturated == "cheapest" else self._audit
            if rows == 1:
                audited = rate > 0 and self._random.random() < rate
                if not audited and deadline is None:
                    return Turn(control, None, start)
                drawn = np.array([audited])
            else:
                drawn = self._rows.random(rows) < rate
        if deadline is None and not drawn.any():
            return Turn(control, None, start)
        seconds = None if deadline is None else deadline / _MILLISECONDS_A_SECOND
        weight = 1 / rate if rate else 1.0
        guide = Overrule(drawn, weight, start, seconds, self._pace, self.clock)
        return Turn(control, guide, start)

    def end(self, turn: Turn, result: Result) -> Overruled | None:
        """Learn from an answered call; called by the runtime.

        Returns:
            What was overruled in it, or None.
        """
        ended = self.clock()
        overruled = None if turn.guide is None else turn.guide.finish(result)
        with self._lock:
            # A call that began under another goal says nothing about this one's cost.
            if turn.control is self._control:
                turn.control.note(result.exits, ended - turn.start + self._tail)
            if turn.guide is not None and overruled is not None:
                self._audits += overruled.audited
                self._cut += turn.guide.cut
            # What this took is the caller's time too, and counts with the next call.
            self._tail = self.clock() - ended
        return overruled

    @property
    def setting(self) -> Setting:
        """The setting in force, for a stream, whose samples of several moments share a stage.

        Raises:
            InputError: No runtime has it yet.
        """
        return self._controlled().setting

    def answered(self, exits: npt.NDArray[np.int32], seconds: float, pending: int) -> None:
        """Learn from samples that a stream answered.

        Args:
            exits: ``(n,)`` exits taken, from 1.
            seconds: Time spent since samples were answered last.
            pending: Samples that wait in the stream.
        """
        with self._lock:
            self._controlled().note(exits, seconds, pending)

    def _make(self, family: ExitFamily, goal: Goal, near: Budget | None) -> Control:
        before = self._control if family is self._family else None
        return Control(family, goal, self._tuning, self._fingerprint, near, before)

    def _controlled(self) -> Control:
        if self._control is None:
            raise InputError(
                "this governor governs no runtime yet.",
                hint="set runtime.governor = governor first.",
                code="governor.idle",
            )
        return self._control


def _check(audit: float, eta: float, hysteresis: float, meter_seconds: float) -> None:
    allowed = {
        "audit": (0 <= audit <= 0.5, audit, "a rate from 0 to 0.5"),
        "eta": (0 < eta <= LARGEST_STEP, eta, f"above 0 and at most {LARGEST_STEP}"),
        "hysteresis": (0 <= hysteresis <= 0.1, hysteresis, "a fraction from 0 to 0.1"),
        "meter_seconds": (meter_seconds >= 0, meter_seconds, "0 or more"),
    }
    for name, (holds, value, right) in allowed.items():
        if not holds:
            raise _wrong(name, value, right)


def _wrong(name: str, value: object, right: str) -> InputError:
    return InputError(
        f"the governor's {name} cannot be {value!r}: {right} is right.",
        hint="correct the argument.",
        code="governor.argument",
    )

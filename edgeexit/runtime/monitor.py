"""Counts every call without a lock, and looks at the counts for drift now and then."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget
from edgeexit.bundle.exits import ExitFamily
from edgeexit.errors import InputError
from edgeexit.runtime.drift import Drift, drift_p_value
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.result import Result
from edgeexit.runtime.setting import Setting
from edgeexit.runtime.stats import SCORE_EDGES, Stats
from edgeexit.runtime.tally import Overruled, Tally
from edgeexit.runtime.timing import NANOSECONDS_A_MILLISECOND

_LOGGER = logging.getLogger("edgeexit")

_LOOK_EVERY = 64
"""Samples of a tally between two looks at whether a window is full."""


class Monitor:
    """Counts the calls of one runtime; threads may share it.

    A call takes a tally, counts on it and gives it back, each an atomic step; reading merges the
    tallies. There are as many as calls ever ended at once.

    Args:
        exits: The number K of exits.
        family: The calibrated exits, or None.

    Attributes:
        governor: Who moves the thresholds, or None; set by the runtime.
        deadline_ms: Milliseconds that a call may take, to count those that take longer; None
            counts none. Where the governor has a deadline, that one counts.
        on_drift: Called with the :class:`Drift` of a window that raised an alarm where the one
            before it did not, in the thread of the call that filled it; what it raises is logged.
    """

    def __init__(self, exits: int, family: ExitFamily | None) -> None:
        self.governor: Governor | None = None
        self.deadline_ms: float | None = None
        self.on_drift: Callable[[Drift], object] | None = None
        self._count = exits
        self._idle: deque[Tally] = deque()
        self._tallies: list[Tally] = []
        self._looking = threading.Lock()
        self._drift = Drift(window=1000, false_alarms=0.001)
        self._start = np.zeros(exits), np.zeros(exits)
        self.restart(family)

    def watch(self, *, window: int | None = None, false_alarms: float | None = None) -> None:
        """Set how drift is looked for, and begin a new window.

        Args:
            window: Samples a test; unchanged if None.
            false_alarms: Probability of an alarm in a window without drift; unchanged if None.

        Raises:
            InputError: A value is out of bounds.
        """
        wanted = self._drift.window if window is None else window
        rate = self._drift.false_alarms if false_alarms is None else false_alarms
        if wanted < 1 or not 0 < rate < 1:
            raise InputError(
                f"drift cannot be tested on windows of {wanted} with {rate} false alarms: 1 "
                "sample or more, and a probability between 0 and 1, are right.",
                hint="write for example watch(window=1000, false_alarms=0.001).",
                code="stats.drift",
            )
        with self._looking:
            self._drift = Drift(window=wanted, false_alarms=rate)
            self._start = self._merged()

    def restart(self, family: ExitFamily | None) -> None:
        """Begin a new window under other exits."""
        with self._looking:
            self._family = family
            self._calibrated = 1 if family is None else family.samples
            self._start = self._merged()

    def note(
        self,
        result: Result,
        setting: Setting,
        nanoseconds: int,
        overruled: Overruled | None = None,
    ) -> None:
        """Count one call.

        Args:
            result: What it answered.
            setting: The setting it ran at.
            nanoseconds: How long it took.
            overruled: Samples whose exit was not the gates' choice; None where there are none.
        """
        try:
            tally = self._idle.pop()
        except IndexError:
            tally = Tally(self._count)
            self._tallies.append(tally)
        deadline = self._deadline()
        tally.call(nanoseconds, None if deadline is None else deadline * NANOSECONDS_A_MILLISECOND)
        if len(result.exits) == 1 and overruled is None and result.rejected is None:
            tally.one(result.exits.item() - 1, result.scores.item(), setting)
        else:
            tally.many(result, setting, overruled)
        look = tally.look >= _LOOK_EVERY
        if look:
            tally.look = 0
        self._idle.append(tally)
        if look:
            self._look_unless_another_does()

    def stats(self, bundle: str, costs: tuple[float, ...], budget: Budget | None) -> Stats:
        """Return the counts so far.

        Args:
            bundle: The bundle's name.
            costs: ``(K,)`` FLOPs of leaving at each exit.
            budget: The runtime's budget, in force where there is no governor.
        """
        state = None if self.governor is None else self.governor.state
        words = None if budget is None else str(budget)
        if budget is not None and self._family is not None:
            words = self._family.stated(budget)
        tallies = list(self._tallies)
        exits = _sum([tally.exits for tally in tallies], (self._count,))
        shape = (self._count - 1, len(SCORE_EDGES) + 1)
        weight = sum(tally.weight for tally in tallies)
        disagreeing = sum(tally.disagreeing for tally in tallies)
        return Stats(
            bundle=bundle,
            budget=words if state is None else state.goal,
            calls=sum(tally.calls for tally in tallies),
            samples=int(exits.sum()),
            exits=exits,
            exit_costs=costs,
            scores=_sum([tally.scores for tally in tallies], shape),
            call_ms=sum(tally.nanoseconds for tally in tallies) / NANOSECONDS_A_MILLISECOND,
            deadline_ms=self._deadline(),
            over_deadline=sum(tally.over for tally in tallies),
            timed_calls=sum(tally.timed for tally in tallies),
            audits=sum(tally.audits for tally in tallies),
            audit_disagreement=disagreeing / weight if weight else None,
            drift=self._drift,
            governor=None if state is None else asdict(state),
        )

    def _deadline(self) -> float | None:
        if self.governor is not None and self.governor.deadline_ms is not None:
            return self.governor.deadline_ms
        return self.deadline_ms

    def _merged(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        found = [tally.counted() for tally in list(self._tallies)]
        zeros = np.zeros(self._count)
        return (
            np.sum([zeros, *(chosen for chosen, _ in found)], axis=0),
            np.sum([zeros, *(expected for _, expected in found)], axis=0),
        )

    def _look_unless_another_does(self) -> None:
        if self._looking.acquire(blocking=False):
            try:
                alarm = self._look()
            finally:
                self._looking.release()
            if alarm is not None:
                self._tell(alarm)

    def _look(self) -> Drift | None:
        """Test the window if it is full; return what was found if an alarm begins with it."""
        now = self._merged()
        observed, expected = now[0] - self._start[0], now[1] - self._start[1]
        count = observed.sum()
        if count < self._drift.window:
            return None
        # A call in another thread may be counted in one of the two and not yet in the other.
        p_value = drift_p_value(observed, expected * (count / expected.sum()), self._calibrated)
        drift = replace(
            self._drift,
            windows=self._drift.windows + 1,
            alarms=self._drift.alarms + (p_value < self._drift.false_alarms),
            p_value=p_value,
            observed=tuple((observed / count).tolist()),
            expected=tuple((expected / expected.sum()).tolist()),
        )
        begins = drift.drifting and not self._drift.drifting
        self._drift, self._start = drift, now
        return drift if begins else None

    def _tell(self, drift: Drift) -> None:
        _LOGGER.warning(
            "exit shares have drifted from calibration: %s, expected %s (p = %.2g over %d samples)",
            _rounded(drift.observed), _rounded(drift.expected), drift.p_value, drift.window,
        )  # fmt: skip
        if self.on_drift is not None:
            try:
                self.on_drift(drift)
            except Exception:
                _LOGGER.exception("on_drift failed")


def _sum(rows: Sequence[Any], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    # A model of one exit has no gates, and a list without rows tells numpy no second axis.
    counts = [np.reshape(np.asarray(row, np.int64), shape) for row in rows]
    total: npt.NDArray[np.int64] = np.sum([np.zeros(shape, np.int64), *counts], 0)
    return total


def _rounded(shares: tuple[float, ...]) -> str:
    return ", ".join(f"{share:.3f}" for share in shares)

"""Audits and deadlines: samples of a call whose exit is not the gates' choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.runtime.lane import Lane
from edgeexit.runtime.result import Result
from edgeexit.runtime.tally import Overruled

_MEMORY = 0.2
"""Weight of the last time in the running mean of a stage's times."""

_DOUBT = 0.99
"""What an estimate shrinks by each time it keeps a stage from running, and so from being measured:
one slow run must not shut a stage for ever."""


class Pace:
    """How long it takes from one gate to the next, by the batch size at the first; in seconds.

    Threads share it: a lost update costs nothing.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, int], float] = {}

    def note(self, index: int, bucket: int, seconds: float) -> None:
        """Note that stage ``index`` (from 0) took so long after a gate seen at ``bucket``."""
        known = self._seconds.get((index, bucket), seconds)
        self._seconds[index, bucket] = known + _MEMORY * (seconds - known)

    def expect(self, index: int, bucket: int) -> float:
        """Return how long it should take; 0 where it has not run yet."""
        return self._seconds.get((index, bucket), 0.0)

    def doubt(self, index: int, bucket: int) -> None:
        """Trust the estimate a little less."""
        if (index, bucket) in self._seconds:
            self._seconds[index, bucket] *= _DOUBT


class Overrule:
    """Sends audited samples on to the last exit, and lets go what would be late.

    After each gate the samples still there go on only if the next stage should end in time. A
    call that is cut into chunks gives each its part of the time. The first stage always runs.

    Args:
        audited: ``(n,) bool`` samples to run to the end.
        weight: One over the rate they were drawn at.
        start: When the call began, by ``clock``.
        seconds: What the call may take; None without a deadline.
        pace: How long stages take.
        clock: Seconds that only ever rise.
    """

    def __init__(
        self,
        audited: npt.NDArray[np.bool_],
        weight: float,
        start: float,
        seconds: float | None,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self._audited = audited
        self._weight = weight
        self._first = np.zeros(len(audited), np.intp)
        self._early: dict[int, npt.NDArray[Any]] = {}
        self._cut = np.zeros(len(audited), np.bool_)
        self._seconds = seconds
        self._pace = pace
        self._clock = clock
        self._start = self._last = start
        self._end = 0.0
        self._bucket = 0
        self._index = 0

    @property
    def cut(self) -> int:
        """Samples let go because of the deadline."""
        return int(self._cut.sum())

    def rule(
        self,
        lane: Lane,
        index: int,
        slots: npt.NDArray[np.intp],
        rows: npt.NDArray[np.intp],
        leaving: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Return ``(m,) bool`` who leaves; see :class:`edgeexit.runtime.router.Guide`."""
        held = leaving & self._audited[rows]
        for row, slot in zip(rows[held].tolist(), slots[held], strict=True):
            if not self._first[row]:
                self._first[row] = index + 1
                self._early[row] = lane.logits(index, slot[None])[0]
        going = leaving & ~held
        if self._seconds is not None and self._is_late(index, lane.bucket, int(rows[-1])):
            self._cut[rows[~leaving | held]] = True
            return np.ones_like(going)
        return going

    def finish(self, result: Result) -> Overruled:
        """Return what was overruled, once the call is answered."""
        count = len(result.exit_costs)
        if self._seconds is not None and self._index and (result.exits == count).any():
            self._pace.note(self._index, self._bucket, self._clock() - self._last)
        ended = self._audited & ~self._cut
        if result.rejected is not None:
            ended &= ~result.rejected
        chosen = result.exits.astype(np.intp)
        chosen[self._audited] = np.where(self._first, self._first, chosen)[self._audited]
        chosen[self._cut] = 0
        disagreeing = sum(
            not np.array_equal(early.argmax(axis=-1), result.logits[row].argmax(axis=-1))
            for row, early in self._early.items()
            if ended[row]
        )
        return Overruled(chosen, int(ended.sum()), disagreeing, self._weight)

    def _is_late(self, index: int, bucket: int, last_row: int) -> bool:
        """Tell whether stage ``index + 1`` (from 0) would end too late."""
        now = self._clock()
        if index == 0:
            part = (last_row + 1) / len(self._audited)
            self._end = self._start + part * (self._seconds or 0.0)
        else:
            self._pace.note(index, self._bucket, now - self._last)
        self._last, self._bucket, self._index = now, bucket, index + 1
        late = now + self._pace.expect(index + 1, bucket) > self._end
        if late:
            self._pace.doubt(index + 1, bucket)
        return late

"""Counters that one call at a time adds to: exits, scores, times, audits."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.runtime.result import Result
from edgeexit.runtime.setting import Setting
from edgeexit.runtime.stats import SCORE_EDGES

_EDGES = np.asarray(SCORE_EDGES)


@dataclass(slots=True)
class Overruled:
    """Samples of a call whose exit was not the gates' choice.

    Attributes:
        chosen: ``(n,)`` exits from 1 that the gates chose; 0 where they were not asked.
        audited: Samples run to the end as audits.
        disagreeing: Those whose early answer was another.
        weight: One over the rate at which audits were drawn.
    """

    chosen: npt.NDArray[np.intp]
    audited: int = 0
    disagreeing: int = 0
    weight: float = 1.0


class Tally:
    """Counters of one call at a time, only ever growing, so that a reader needs no lock.

    Args:
        exits: The number K of exits.
    """

    __slots__ = (
        "_setting", "_since", "audits", "calls", "chosen", "disagreeing", "exits", "expected",
        "look", "nanoseconds", "over", "scores", "timed", "weight",
    )  # fmt: skip

    def __init__(self, exits: int) -> None:
        self.calls = self.nanoseconds = self.over = self.timed = self.audits = self.look = 0
        self.weight = self.disagreeing = 0.0
        self.exits = [0] * exits
        self.scores = [[0] * (len(SCORE_EDGES) + 1) for _ in range(exits - 1)]
        # Counts under settings whose shares are known, and what these let expect.
        self.chosen = [0] * exits
        self.expected = [0.0] * exits
        self._setting: Setting | None = None
        self._since = 0

    def call(self, nanoseconds: int, deadline: float | None) -> None:
        """Count a call and how long it took, against a deadline in nanoseconds or None."""
        self.calls += 1
        self.nanoseconds += nanoseconds
        if deadline is not None:
            self.timed += 1
            self.over += nanoseconds > deadline

    def one(self, index: int, score: float, setting: Setting) -> None:
        """Count a sample that left at exit ``index`` (from 0) because its gate said so."""
        self.exits[index] += 1
        if score == score:
            self.scores[index][bisect_left(SCORE_EDGES, score)] += 1
        if setting is not self._setting:
            self.settle()
            self._setting = setting
        if setting.shares is not None:
            self.chosen[index] += 1
            self._since += 1
        self.look += 1

    def many(self, result: Result, setting: Setting, overruled: Overruled | None) -> None:
        """Count a batch, or a sample whose gates were overruled."""
        exits = result.exits - 1
        taken = np.bincount(exits, minlength=len(self.exits))
        _add(self.exits, taken)
        # The last exit has no score, and neither has a gate that failed.
        scored = result.scores == result.scores
        width = len(_EDGES) + 1
        places = exits[scored] * width + _EDGES.searchsorted(result.scores[scored], side="left")
        counts = np.bincount(places)
        for place in counts.nonzero()[0].tolist():
            self.scores[place // width][place % width] += int(counts[place])
        if overruled is not None:
            self.audits += overruled.audited
            self.weight += overruled.audited * overruled.weight
            self.disagreeing += overruled.disagreeing * overruled.weight
        if setting is not self._setting:
            self.settle()
            self._setting = setting
        if setting.shares is not None:
            counts = taken
            if overruled is not None or result.rejected is not None:
                chosen = result.exits if overruled is None else overruled.chosen
                if result.rejected is not None:
                    chosen = np.where(result.rejected, 0, chosen)
                counts = np.bincount(chosen, minlength=len(self.exits) + 1)[1:]
            _add(self.chosen, counts)
            self._since += int(counts.sum())
        self.look += len(exits)

    def settle(self) -> None:
        """Add what the present setting lets expect of the samples since it came."""
        setting, since = self._setting, self._since
        if setting is not None and setting.shares is not None and since:
            self._since = 0
            for index, share in enumerate(setting.shares.tolist()):
                self.expected[index] += since * share

    def counted(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return ``(K,)`` exits chosen and ``(K,)`` expected under settings with known shares."""
        expected = np.asarray(self.expected)
        setting = self._setting
        if setting is not None and setting.shares is not None:
            expected = expected + self._since * setting.shares
        return np.asarray(self.chosen, np.float64), expected


def _add(row: list[int], counts: npt.NDArray[np.intp]) -> None:
    for index, count in enumerate(counts.tolist()):
        row[index] += count

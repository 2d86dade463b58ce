"""How far a work is, and how long the rest will take at the speed so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeexit.targets.info import Report


class Progress:
    """Reports the share of a work that is done, and the time left at the speed so far.

    Args:
        total: The weight of all steps.
        report: Told the step with the time left, and the share.
        clock: Seconds from anywhere.

    Attributes:
        cached: Set within a step that cost nothing; it tells nothing of the speed.
    """

    def __init__(
        self,
        total: float,
        report: Report | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cached = False
        self._total = total
        self._report = report or (lambda step, share: None)
        self._clock = clock
        self._done = 0.0
        self._measured = 0.0
        self._seconds = 0.0

    @contextmanager
    def step(self, name: str, weight: float) -> Iterator[Report]:
        """Count a step of the given weight; yield what its own progress is reported to."""
        self.cached = False
        start = self._clock()
        text = name + self._left()

        def told(_phase: str, share: float) -> None:
            self._report(text, (self._done + min(max(share, 0.0), 1.0) * weight) / self._total)

        told("", 0.0)
        yield told
        told("", 1.0)
        self._done += weight
        if not self.cached:
            self._measured += weight
            self._seconds += self._clock() - start

    def _left(self) -> str:
        if not self._measured:
            return ""
        seconds = self._seconds / self._measured * (self._total - self._done)
        return f" (about {duration(seconds)} left)"


def duration(seconds: float) -> str:
    """Return a time for people: ``40 s`` or ``3 min``."""
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"

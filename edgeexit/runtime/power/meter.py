"""What all energy meters have in common: joules since the start, their source, what is refused."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from time import perf_counter, sleep
from types import TracebackType

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.sensor_file import nonsense

_PROOF_PERIODS = 5
"""Updates of a sensor in which it must have counted something: nothing draws no power."""


@dataclass(frozen=True)
class MeterInfo:
    """Where a meter's joules come from.

    Attributes:
        kind: ``rapl``, ``ina3221``, ``nvml`` or ``cpu-time``.
        source: The sensors, or the formula with its constants.
        covers: What they see.
        estimated: Whether the joules are a model's and not a sensor's.
        resolution: Seconds between two updates of the sensor.
    """

    kind: str
    source: str
    covers: str
    estimated: bool
    resolution: float


class Meter(ABC):
    """Counts joules from when it was opened. A context manager; threads may share one.

    A meter refuses what cannot be right: it raises where the count falls, is no number, or rises
    faster than anything here draws. It never averages such a value in, and since what was drawn
    meanwhile is unknown, every later reading raises the same: open another meter then.

    Args:
        info: Where the joules come from.
        highest: Watts beyond which a reading is nonsense.
        start: What the meter's own count begins at, in joules.
    """

    def __init__(self, info: MeterInfo, highest: float, start: float = 0.0) -> None:
        self.info = info
        self.highest = highest
        self._lock = threading.Lock()
        self._fault: ResourceError | None = None
        self._start = start
        self._last = start
        self._read_at = perf_counter()

    def read(self) -> float:
        """Return the joules drawn since the meter was opened; raises as :meth:`read_at`."""
        return self.read_at()[0]

    def read_at(self) -> tuple[float, float]:
        """Return the joules drawn since the meter was opened, and when that was read.

        The moment is that of the sensor, in seconds of ``perf_counter``: what the caller's own
        clock says before or after may be off by what the reading took.

        Raises:
            ResourceError: The sensor cannot be read (``power.permission``, ``power.gone``,
                ``power.sensor``) or what it says cannot be (``power.nonsense``).
        """
        with self._lock:
            if self._fault is not None:
                raise self._fault
            try:
                joules, now = self._count()
                # A sensor that counts in steps may show a whole step after the shortest time.
                self._check(joules, max(now - self._read_at, 2 * self.info.resolution))
            except ResourceError as error:
                self._fault = error
                raise
            self._last, self._read_at = joules, now
            return joules - self._start, now

    def prove(self) -> None:
        """Wait for a few updates and refuse a counter that stands still.

        Raises:
            ResourceError: As :meth:`read`, or the count does not rise (``power.nonsense``).
        """
        before = self.read()
        sleep(_PROOF_PERIODS * self.info.resolution)
        if self.read() <= before:
            seconds = _PROOF_PERIODS * self.info.resolution
            raise nonsense(self.info.source, f"0 J in {seconds:g} s", "a count that rises")

    def check_moving(self) -> None:  # noqa: B027  # a counter that stands still shows in its joules
        """Refuse a sensor of watts that has said one and the same since the last check.

        Called after work and idle time have alternated.

        Raises:
            ResourceError: It stands still (``power.nonsense``).
        """

    def close(self) -> None:  # noqa: B027  # most meters hold nothing
        """Give back what the meter holds. Closing twice is fine."""

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _count(self) -> tuple[float, float]:
        """Return the meter's own count in joules, from any start, and when it was read."""

    def _check(self, joules: float, seconds: float) -> None:
        if not math.isfinite(joules):
            raise nonsense(self.info.source, f"{joules} J", "a finite number")
        risen = joules - self._last
        if risen < 0:
            raise nonsense(self.info.source, f"{risen:.6g} J drawn", "a count that does not fall")
        if risen > self.highest * seconds:
            found = f"{risen:.6g} J in {seconds:.3g} s"
            raise nonsense(self.info.source, found, f"at most {self.highest:g} W")

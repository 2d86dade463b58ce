"""Reads a meter between calls: joules an input, and what is left of a reserve."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from edgeexit.errors import EdgeExitError
from edgeexit.runtime.goals import Reserve

_LOGGER = logging.getLogger("edgeexit")

Meter = Callable[[], float]
"""Returns joules counted since any one moment; never less than before."""

_MEMORY = 0.3
"""Weight of the last window in the running time an input takes."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a meter counted between two readings.

    Attributes:
        inputs: Inputs answered.
        joules: Mean joules an input, idle time included.
        tabled: Mean of the table's costs of the exits they took.
    """

    inputs: int
    joules: float
    tabled: float


class EnergyBook:
    """Sums inputs up to windows long enough for the meter. One thread at a time.

    Args:
        meter: The meter.
        clock: Seconds that only ever rise.
        seconds: Shortest window.

    Attributes:
        faults: Readings refused: the meter failed, went back, or gave no number.
    """

    def __init__(self, meter: Meter, clock: Callable[[], float], seconds: float) -> None:
        self._meter = meter
        self._clock = clock
        self._shortest = seconds
        self.faults = 0
        self._inputs, self._tabled = 0, 0.0
        self._pause = 0.0
        self._used = 0.0
        self._at = self._since = self._tried = clock()
        self._low = math.inf
        self._read = self._reading()

    def note(self, tabled: float, inputs: int) -> Window | None:
        """Note inputs of mean table cost ``tabled``; return the window if that ended one."""
        self._inputs += inputs
        self._tabled += tabled * inputs
        now = self._clock()
        if now - self._tried < self._shortest:
            return None
        self._tried = now
        read = self._reading()
        if not self._is_sound(read):
            return None
        spent, self._read = read - self._read, read
        count, mean = self._inputs, self._tabled / self._inputs
        pause = (now - self._at) / count
        self._inputs, self._tabled, self._at = 0, 0.0, now
        self._pause += (_MEMORY if self._pause else 1.0) * (pause - self._pause)
        self._used += spent
        return Window(count, spent / count, mean)

    def allowed(self, reserve: Reserve) -> float | None:
        """Return the joules an input may use so that the reserve lasts; None once it has.

        What is left is spread over the time that is left at the present rate of inputs.
        """
        joules, seconds = self.left(reserve)
        return None if seconds <= 0 else max(joules, 0.0) / seconds * self._pause

    def left(self, reserve: Reserve) -> tuple[float, float]:
        """Return the joules and the seconds that are left of a reserve set when this began."""
        return reserve.joules - self._used, reserve.seconds - (self._clock() - self._since)

    def _is_sound(self, read: float) -> bool:
        """Tell whether a window may end with this reading; if not, the next one may end it.

        A counter that begins anew is believed once two readings agree on it; what it counted in
        between is lost.
        """
        if not math.isfinite(read):
            return False
        if read >= self._read:
            self._low = math.inf
            return True
        if math.isfinite(self._read):
            self.faults += 1
        if read >= self._low or not math.isfinite(self._read):
            self._read, self._low = read, math.inf
            self._inputs, self._tabled, self._at = 0, 0.0, self._tried
        else:
            self._low = read
        return False

    def _reading(self) -> float:
        try:
            value = float(self._meter())
        except (OSError, ValueError, TypeError, EdgeExitError) as error:
            return self._refuse(str(error))
        return value if math.isfinite(value) else self._refuse(f"it read {value}")

    def _refuse(self, why: str) -> float:
        if self.faults == 0:
            _LOGGER.warning("the governor's meter failed, its window goes on: %s", why)
        self.faults += 1
        return math.nan

"""A meter made of watts: they are read in a thread and summed over time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.meter import Meter, MeterInfo
from edgeexit.runtime.power.sensor_file import nonsense

LONGEST_GAP = 1.0
"""Seconds without a sample after which what was drawn meanwhile counts as unknown."""

_GAP_PERIODS = 20


class SampledMeter(Meter):
    """Integrates sampled watts by the trapezoidal rule. Close it: it holds a thread.

    A reading takes a sample of its own, so the joules end where the caller asks.

    Args:
        info: Where the watts come from; they are sampled once a ``resolution``.
        highest: Watts beyond which a reading is nonsense.
        watts: Reads the sensor; raises ResourceError where it cannot.

    Raises:
        ResourceError: The first sample cannot be read.
    """

    def __init__(self, info: MeterInfo, highest: float, watts: Callable[[], float]) -> None:
        super().__init__(info, highest)
        self._watts = watts
        self._total = 0.0
        self._before = self._lowest = self._highest = watts()
        self._sampled_at = perf_counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="edgeexit-power", daemon=True)
        self._thread.start()

    def check_moving(self) -> None:
        """Refuse a sensor whose samples since the last check are all the same; see the base."""
        with self._lock:
            still, watts = self._lowest == self._highest, self._before
            self._lowest = self._highest = watts
        if still:
            found = f"{watts:.6g} W at work and idle alike"
            raise nonsense(self.info.source, found, "a power that moves with the work")

    def close(self) -> None:
        """End the thread. Closing twice is fine."""
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        # After a fault the meter is refused for good: nothing is left to sample.
        while not self._stop.wait(self.info.resolution):
            try:
                self.read()
            except ResourceError:
                return

    def _count(self) -> tuple[float, float]:
        watts, now = self._watts(), perf_counter()
        gap = now - self._sampled_at
        if gap > max(LONGEST_GAP, _GAP_PERIODS * self.info.resolution):
            raise ResourceError(
                f"{self.info.source} was not sampled for {gap:.1f} s: the sampling thread got no "
                "processor, or the machine slept.",
                hint="measure again, with less running beside it.",
                code="power.gap",
            )
        self._total += 0.5 * (self._before + watts) * gap
        self._before, self._sampled_at = watts, now
        self._lowest, self._highest = min(self._lowest, watts), max(self._highest, watts)
        return self._total, now

"""The last resort: energy from processor time by a formula, always marked as estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter, process_time

from edgeexit.runtime.power.meter import Meter, MeterInfo

_RESOLUTION = 0.001
"""Seconds. Linux counts processor time in nanoseconds; a millisecond is far above its jitter."""

_HIGHEST_THREADS = 4096


@dataclass(frozen=True)
class PowerModel:
    """The constants of ``joules = idle_watts × seconds + watts_per_core × cpu-seconds``.

    The default is a guess between a small board and a server, and not measured: with it, only
    ratios between exits mean something.

    Attributes:
        idle_watts: What the machine draws when it does nothing.
        watts_per_core: What a busy core draws beyond that.
        origin: Where the two come from.
    """

    idle_watts: float = 5.0
    watts_per_core: float = 5.0
    origin: str = "defaults, not measured"

    @classmethod
    def of(cls, constants: Mapping[str, float], origin: str) -> PowerModel:
        """Return the model with the constants of a device file, or the default where it has none.

        Args:
            constants: ``idle_watts`` and ``watts_per_core``, or nothing.
            origin: Name of the device file.
        """
        if not constants:
            return cls()
        watts = (float(constants["idle_watts"]), float(constants["watts_per_core"]))
        return cls(*watts, f"device file {origin}")


class CpuTimeMeter(Meter):
    """Models the energy of this process from the processor time of all its threads.

    It knows nothing of clocks, memory or other processes, and of no GPU.

    Args:
        model: The constants.
    """

    def __init__(self, model: PowerModel | None = None) -> None:
        model = PowerModel() if model is None else model
        formula = f"{model.idle_watts:g} W idle + {model.watts_per_core:g} W a busy core"
        info = MeterInfo(
            "cpu-time",
            f"{formula} ({model.origin})",
            "a model of the processor under this process",
            True,
            _RESOLUTION,
        )
        highest = model.idle_watts + model.watts_per_core * _HIGHEST_THREADS
        super().__init__(info, highest)
        self._model = model
        self._wall, self._cpu = perf_counter(), process_time()

    def _count(self) -> tuple[float, float]:
        now, cpu = perf_counter(), process_time() - self._cpu
        joules = self._model.idle_watts * (now - self._wall) + self._model.watts_per_core * cpu
        return joules, now

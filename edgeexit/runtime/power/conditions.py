"""What decides how fast and how thirsty a machine is at a moment: clocks, heat, governor, load."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgeexit.targets.jetson import Clock, read_clocks, read_jetson, read_temperatures

_LOGGER = logging.getLogger("edgeexit")

_CELSIUS = (-60.0, 200.0)
_HERTZ_A_MEGAHERTZ = 1_000_000


@dataclass(frozen=True)
class Conditions:
    """A machine as it is now; None and nothing stand for what it does not tell.

    Attributes:
        load: Runnable processes a core (the load average of the last minute).
        clocks: Of GPU, memory and processor, each with its limits and its governor.
        temperatures: Zone and degrees Celsius.
        power_mode: A Jetson's nvpmodel mode.
    """

    load: float | None
    clocks: tuple[Clock, ...]
    temperatures: tuple[tuple[str, float], ...]
    power_mode: str | None

    @property
    def megahertz(self) -> float | None:
        """The mean clock of the processor."""
        clocks = [clock.hertz for clock in self.clocks if clock.name.startswith("cpu")]
        return sum(clocks) / len(clocks) / _HERTZ_A_MEGAHERTZ if clocks else None

    @property
    def hottest(self) -> tuple[str, float] | None:
        """The hottest zone and its degrees Celsius."""
        return max(self.temperatures, key=lambda zone: zone[1], default=None)

    @property
    def governors(self) -> tuple[str, ...]:
        """What chooses the processor's clock; several where its cores differ."""
        cpus = (clock for clock in self.clocks if clock.name.startswith("cpu"))
        return tuple(sorted({clock.governor for clock in cpus if clock.governor}))

    @property
    def mode(self) -> str:
        """What is set, as against what happens to be: the power mode, governors, clock limits.

        Costs measured in one mode do not hold in another. Turbo, the power limits of processors and
        graphics cards, and what a host does to a virtual machine are not in it. Empty where the
        machine tells nothing.
        """
        parts = [f"power mode {self.power_mode}"] if self.power_mode else []
        return ", ".join(parts + sorted({_limits(clock) for clock in self.clocks} - {""}))

    @property
    def summary(self) -> str:
        """One line for people."""
        parts = [] if self.load is None else [f"load {self.load:.2f} a core"]
        if self.megahertz is not None:
            parts.append(f"{self.megahertz:.0f} MHz")
        parts += [f"governor {name}" for name in self.governors]
        if self.power_mode:
            parts.append(f"power mode {self.power_mode}")
        if self.hottest:
            parts.append(f"{self.hottest[0]} at {self.hottest[1]:.0f} C")
        return ", ".join(parts) or "nothing known of load and clocks"


def read_conditions(root: Path = Path("/")) -> Conditions:
    """Return the conditions of this machine. Never raises.

    Args:
        root: What stands in place of ``/`` for clocks and temperatures.
    """
    jetson = read_jetson(root)
    clocks = read_clocks(root) if jetson is None else jetson.clocks
    temperatures = read_temperatures(root) if jetson is None else jetson.temperatures
    mode = None if jetson is None else jetson.power_mode
    if root == Path("/"):
        # A virtual machine shows no cpufreq, and a PC's chips are no thermal zones.
        clocks = clocks or _clock()
        temperatures = temperatures or _chips()
    return Conditions(_load(), clocks, temperatures, mode)


def mode_changed(what: str, mode: str, root: Path = Path("/")) -> bool:
    """Return whether the machine is in another power mode than ``mode``, and warn if it is.

    Args:
        what: What was measured in that mode, and what becomes of it, for the warning.
        mode: As :attr:`Conditions.mode` gave it; nothing is compared where one is empty.
        root: What stands in place of ``/`` for clocks.
    """
    now = read_conditions(root).mode if mode else ""
    changed = now not in ("", mode)
    if changed:
        _LOGGER.warning("%s: it was in the mode '%s', this is '%s'", what, mode, now)
    return changed


def _limits(clock: Clock) -> str:
    """Return a clock's governor and limits; nothing where it has none."""
    words = [clock.governor] if clock.governor else []
    if clock.lowest is not None and clock.highest is not None:
        ends = (clock.lowest, clock.highest)
        words.append("-".join(f"{end / _HERTZ_A_MEGAHERTZ:.0f}" for end in ends) + " MHz")
    return " ".join([clock.name.split()[0], *words]) if words else ""


def _load() -> float | None:
    if not hasattr(os, "getloadavg"):
        return None
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _clock() -> tuple[Clock, ...]:
    found = _ask("cpu_freq")
    if not found or not found.current:
        return ()
    now, lowest, highest = (
        int(value * _HERTZ_A_MEGAHERTZ) for value in (found.current, found.min, found.max)
    )
    return (Clock("cpu", now, lowest or None, highest or None),)


def _chips() -> tuple[tuple[str, float], ...]:
    chips = _ask("sensors_temperatures") or {}
    zones = ((chip, zone) for chip, found in chips.items() for zone in found)
    return tuple(
        (f"{chip} {zone.label}".strip(), float(zone.current))
        for chip, zone in zones
        if _CELSIUS[0] < zone.current < _CELSIUS[1]
    )


def _ask(name: str) -> Any:
    """Return what a function of psutil tells, None where the system lacks it or it fails."""
    try:
        return getattr(psutil, name)()
    except Exception:  # psutil lets what it finds in broken files through as it comes
        return None

"""This machine: the engine that it has for the bundle, and what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexit.bundle.bundle import Bundle
from edgeexit.errors import TargetError
from edgeexit.runtime.energy import kept_energy
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.power.conditions import mode_changed
from edgeexit.runtime.power.profile import EnergyProfile, Estimate
from edgeexit.runtime.profile import DeviceProfile, kept_profile


@dataclass(frozen=True)
class Timed:
    """Times of one thing at batch 1, in milliseconds.

    Attributes:
        name: What it is.
        median: The median.
        mean: The mean.
        p99: What 99 % stay below.
        count: How many times it was measured.
    """

    name: str
    median: float
    mean: float
    p99: float
    count: int


@dataclass(frozen=True)
class Profiled:
    """What the device's cache holds of the bundle, at batch 1.

    Attributes:
        stages: Times of each stage with its gate.
        call: Times of a call through all stages.
        static: Times of the static model.
        overhead: Milliseconds of a call outside its stages.
        per_exit: Milliseconds of leaving at each exit (medians).
        load: Runnable processes a core when it was measured.
        conditions: Load, clocks and temperature then, in a line.
    """

    stages: tuple[Timed, ...]
    call: Timed
    static: Timed
    overhead: float
    per_exit: tuple[float, ...]
    load: float
    conditions: str

    def mean(self, shares: Sequence[float]) -> float:
        """Return the milliseconds of a sample where such shares leave at each exit."""
        return float(sum(share * cost for share, cost in zip(shares, self.per_exit, strict=True)))


@dataclass(frozen=True)
class Joules:
    """What one call of one sample draws.

    Attributes:
        marginal: Joules beyond idle power.
        error: Their standard error.
        total: Joules with idle power during the call.
        total_error: Their standard error.
    """

    marginal: float
    error: float
    total: float
    total_error: float

    @classmethod
    def of(cls, marginal: Estimate, total: Estimate) -> Joules:
        """Return both with their errors."""
        return cls(marginal.value, marginal.error, total.value, total.error)


@dataclass(frozen=True)
class Drawn:
    """What the device's cache holds of the bundle's energy.

    Attributes:
        meter: ``rapl``, ``ina3221``, ``nvml`` or ``cpu-time``.
        source: Its sensors, or the formula.
        covers: What they see.
        estimated: Whether the joules are a model's and not a sensor's.
        refused: Better meters that were not used, with the reason.
        rounds: How often each was measured.
        idle: Watts while nothing runs.
        idle_error: Their standard error.
        exits: A call that leaves at each exit.
        static: A call of the static model.
    """

    meter: str
    source: str
    covers: str
    estimated: bool
    refused: tuple[str, ...]
    rounds: int
    idle: float
    idle_error: float
    exits: tuple[Joules, ...]
    static: Joules

    def mean(self, shares: Sequence[float]) -> float:
        """Return the marginal joules of a sample where such shares leave at each exit."""
        pairs = zip(shares, self.exits, strict=True)
        return float(sum(share * each.marginal for share, each in pairs))


@dataclass(frozen=True)
class Here:
    """This machine as the bundle's device.

    Attributes:
        device: The device file.
        engine: The engine and its version; None where it does not run here.
        fingerprint: What tells this device from others; None likewise.
        fault: Why the engine does not run here; empty where it does.
        profile: Times that were measured here, or None.
        energy: Joules that were measured or estimated here, or None.
    """

    device: str
    engine: str | None
    fingerprint: str | None
    fault: str
    profile: Profiled | None
    energy: Drawn | None


def here(bundle: Bundle, target: str | Path | None = None) -> Here:
    """Return what this machine is to a bundle. Nothing is run or measured.

    Args:
        bundle: The bundle.
        target: Another device than the one it was compiled for.

    Raises:
        TargetError: ``target`` is given and does not run here.
    """
    name = bundle.manifest.device if target is None else str(target)
    try:
        machine = Machine.of(bundle, target)
    except TargetError as error:
        if target is not None:
            raise
        return Here(name, None, None, error.message, None, None)
    profile, energy = kept_profile(machine.cache), kept_energy(machine.cache)
    for what, kept in (("times", profile), ("joules", energy)):
        if kept is not None:
            mode_changed(f"the {what} of this report may not hold here", kept.before.mode)
    exits = len(bundle.manifest.stages)
    return Here(
        name,
        machine.info.engine,
        machine.fingerprint,
        "",
        None if profile is None else _profiled(profile, exits),
        None if energy is None else _drawn(energy, exits),
    )


def _profiled(profile: DeviceProfile, exits: int) -> Profiled | None:
    """Return the profile at batch 1; None where it is of another number of stages."""
    single = next((batch for batch in profile.batches if batch.batch == 1), None)
    if single is None or len(single.stages) != exits:
        return None
    stages = [(f"stage {number}", times) for number, times in enumerate(single.stages, 1)]
    every = [*stages, ("call, all stages", single.call), ("static model", single.static)]
    *timed, call, static = (
        Timed(name, times.p50, times.mean, times.p99, times.count) for name, times in every
    )
    costs = profile.cost_table().per_exit
    return Profiled(
        tuple(timed), call, static, single.overhead, costs, profile.load, profile.before.summary
    )


def _drawn(energy: EnergyProfile, exits: int) -> Drawn | None:
    """Return the energy; None where it is of another number of exits."""
    if len(energy.exits) != exits or len(energy.exits_total) != exits:
        return None
    return Drawn(
        energy.meter.kind,
        energy.meter.source,
        energy.meter.covers,
        energy.meter.estimated,
        energy.refused,
        energy.rounds,
        energy.idle.value,
        energy.idle.error,
        tuple(
            Joules.of(marginal, total)
            for marginal, total in zip(energy.exits, energy.exits_total, strict=True)
        ),
        Joules.of(energy.static, energy.static_total),
    )

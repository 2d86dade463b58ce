"""Made-up energy profiles for bundles whose device's cache is to hold one."""

from __future__ import annotations

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.codec import encode
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.power.conditions import Conditions
from edgeexit.runtime.power.meter import MeterInfo
from edgeexit.runtime.power.profile import EnergyProfile, Estimate

CALM = Conditions(0.1, (), (), None)


def made_up(
    fingerprint: str,
    exits: tuple[float, ...],
    *,
    error: float = 0.0001,
    estimated: bool = False,
    conditions: Conditions = CALM,
) -> EnergyProfile:
    """Return a profile in which leaving at exit k draws ``exits[k - 1]`` joules beyond idle."""
    kind, source = ("cpu-time", "5 W idle") if estimated else ("rapl", "RAPL package-0")
    meter = MeterInfo(kind, source, "the processor", estimated, 0.001)
    marginal = tuple(Estimate(joules, error) for joules in exits)
    total = tuple(Estimate(2 * joules, error) for joules in exits)
    return EnergyProfile(
        fingerprint, meter, (), 40, 0.05, Estimate(5.0, 0.1), marginal, marginal,
        Estimate(exits[-1], error), total, Estimate(2 * exits[-1], error), conditions, conditions,
    )  # fmt: skip


def keep_made_up(bundle: Bundle, exits: tuple[float, ...], **changes: object) -> EnergyProfile:
    """Put such a profile into the cache of the bundle's device, and return it."""
    machine = Machine.of(bundle)
    profile = made_up(machine.fingerprint, exits, **changes)  # type: ignore[arg-type]
    machine.cache.write_json("energy", encode(profile))
    return profile

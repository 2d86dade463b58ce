"""Made-up times of batches, for profiles and for bundles whose device's cache is to hold one."""

from __future__ import annotations

from collections.abc import Sequence

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.codec import encode
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.power.conditions import Conditions
from edgeexit.runtime.profile import BatchProfile, DeviceProfile
from edgeexit.runtime.timing import TimeStats

CALM = Conditions(0.1, (), (), None)


def steady(milliseconds: float) -> TimeStats:
    """Return times that were all the same."""
    return TimeStats(9, *(float(milliseconds),) * 6)


def made_batch(
    size: int,
    stages: Sequence[float],
    *,
    static: float | None = None,
    move: float = 0.0,
    overhead: float = 0.0,
) -> BatchProfile:
    """Return times of a batch; the static model takes what all stages do unless told otherwise."""
    total = sum(stages)
    return BatchProfile(
        size,
        tuple(steady(stage) for stage in stages),
        steady(total + overhead),
        steady(total if static is None else static),
        (move,) * (len(stages) - 1),
    )


def keep_batches(bundle: Bundle, batches: Sequence[BatchProfile]) -> DeviceProfile:
    """Put a profile of such batches into the cache of the bundle's device, and return it."""
    machine = Machine.of(bundle)
    profile = DeviceProfile(machine.fingerprint, tuple(batches), CALM, CALM)
    machine.cache.write_json("profile", encode(profile))
    return profile

"""Made-up times of calls, for bundles whose device's cache is to hold some."""

from __future__ import annotations

import numpy as np

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.codec import encode
from edgeexit.runtime.call_times import LEVELS, CallTimes
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.power.conditions import Conditions

CALM = Conditions(0.1, (), (), None)


def evenly(*ends: tuple[float, float], fingerprint: str = "here") -> CallTimes:
    """Return times that are spread evenly between two ends, an exit each."""
    rows = tuple(tuple(np.linspace(low, high, LEVELS).tolist()) for low, high in ends)
    return CallTimes(fingerprint, 1000, rows, CALM)


def keep_evenly(bundle: Bundle, *ends: tuple[float, float]) -> CallTimes:
    """Put such times into the cache of the bundle's device, and return them."""
    machine = Machine.of(bundle)
    times = evenly(*ends, fingerprint=machine.fingerprint)
    machine.cache.write_json("call-times", encode(times))
    return times

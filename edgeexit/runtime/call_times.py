"""How long calls take that leave at each exit: not one number an exit but a distribution."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.cache import DeviceCache
from edgeexit.runtime.kept import Kept
from edgeexit.runtime.power.conditions import Conditions, read_conditions
from edgeexit.runtime.profile import golden_inputs
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.timing import NANOSECONDS_A_MILLISECOND, rounds_within

CALL_SECONDS = 4.0
"""How long to measure unless told otherwise."""

LEVELS = 201
"""Quantiles kept an exit: every half percent, from the shortest time to the longest."""

BUSY = 0.5
"""Runnable processes a core above which times are warned of."""

_MIN_ROUNDS = 60
_ROUNDING = 1e-12

_LOGGER = logging.getLogger("edgeexit")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CallTimes:
    """Times of calls of one sample, forced to leave at each exit.

    A sample that leaves at exit k takes a time drawn from F_k, so a call of a setting that lets the
    fraction s_k leave there takes one from the mixture ``F(t) = sum_k s_k F_k(t)``. Its percentile
    at level p is the shortest t with ``F(t) >= p``. F_k is read off the quantiles linearly.

    What is approximate: F_k is that of some dozens to thousands of calls, one after the other, of
    one golden sample on a machine with nothing else to do; a time is taken to depend on a sample by
    its exit alone; and exits are forced, which spares comparing a score. Load, heat, batches and
    several threads are not in it.

    Attributes:
        fingerprint: The device.
        count: Calls timed, an exit.
        exits: K rows of :data:`LEVELS` quantiles in milliseconds, at evenly spaced levels from 0
            to 1.
        before: Load, clocks and temperatures at the start.
    """

    fingerprint: str
    count: int
    exits: tuple[tuple[float, ...], ...]
    before: Conditions

    @cached_property
    def _quantiles(self) -> Array:
        """``(K, LEVELS)``; a later exit counts as no faster than one before it, at any level."""
        return np.maximum.accumulate(np.asarray(self.exits, dtype=np.float64), axis=0)

    def is_of(self, exits: int) -> bool:
        """Return whether these are the quantiles of so many exits."""
        return [len(row) for row in self.exits] == [LEVELS] * exits

    def shares_within(self, milliseconds: float) -> Array:
        """Return F_k at a time: the fraction ``(K,)`` of calls to each exit that take no longer."""
        return self._distributions(np.array([milliseconds]))[:, 0]

    def percentile(self, shares: Sequence[float], level: float) -> float:
        """Return the milliseconds that a fraction of calls does not exceed.

        Args:
            shares: ``(K,)`` fractions of samples that leave at each exit.
            level: The fraction, such as 0.95.
        """
        fractions = np.asarray(shares, dtype=np.float64)
        # Between the quantiles of the exits that are taken the mixture is linear; it jumps where
        # quantiles are equal.
        knots = np.unique(self._quantiles[fractions > 0])
        mixture = fractions @ self._distributions(knots)
        before = fractions @ self._distributions(np.nextafter(knots, 0.0))
        first = int(np.argmax(mixture >= level - _ROUNDING))
        if first == 0 or before[first] <= level:
            return float(knots[first])
        low, high = mixture[first - 1], before[first]
        part = (level - low) / (high - low)
        return float(knots[first - 1] + part * (knots[first] - knots[first - 1]))

    def _distributions(self, milliseconds: Array) -> Array:
        levels = np.linspace(0.0, 1.0, self._quantiles.shape[1])
        rows = [np.interp(milliseconds, row, levels, left=0.0) for row in self._quantiles]
        return np.stack(rows)


_KEPT = Kept("call-times", CallTimes, "the times of calls are measured again")


def load_or_measure_calls(
    runtime: Runtime, seconds: float = CALL_SECONDS, *, root: Path = Path("/")
) -> CallTimes:
    """Return the times from the device's cache, or measure and keep them.

    What was measured in another power mode of the device is measured again.

    Args:
        runtime: The running bundle.
        seconds: How long to measure.
        root: What stands in place of ``/`` where clocks are looked for.

    Raises:
        BundleError: The bundle has no golden inputs.
    """
    cache, exits = runtime.machine.cache, runtime.plan.exits
    kept = _KEPT.load_current(cache, root)
    if kept is not None and kept.is_of(exits):
        return kept
    times = measure_calls(runtime, seconds, root=root)
    _KEPT.store(cache, times)
    return times


def kept_calls(cache: DeviceCache, exits: int) -> CallTimes | None:
    """Return the times in a device's cache; None where there are none of so many exits."""
    times = _KEPT.load(cache)
    return times if times is not None and times.is_of(exits) else None


def measure_calls(
    runtime: Runtime, seconds: float = CALL_SECONDS, *, root: Path = Path("/")
) -> CallTimes:
    """Time calls of one golden sample that leave at each exit, in a new random order every round.

    Args:
        runtime: The running bundle; nothing else should use it, or the machine, meanwhile.
        seconds: How long to measure; longer where 60 rounds take longer.
        root: What stands in place of ``/`` where clocks are looked for.

    Raises:
        BundleError: The bundle has no golden inputs.
    """
    inputs, before = golden_inputs(runtime, 1), read_conditions(root)
    if before.load is not None and before.load > BUSY:
        _LOGGER.warning(
            "calls are timed while %.1f processes a core want to run: on an idle machine they take "
            "less, and far less at the 95th percentile",
            before.load,
        )
    order = np.random.default_rng(0)
    rounds: list[list[int]] = []
    for counts in rounds_within(seconds, _MIN_ROUNDS):
        times = [0] * runtime.plan.exits
        for exit_number in order.permutation(runtime.plan.exits) + 1:
            start = perf_counter_ns()
            runtime.run_to(inputs, int(exit_number))
            times[exit_number - 1] = perf_counter_ns() - start
        if counts:
            rounds.append(times)
    milliseconds = np.asarray(rounds) / NANOSECONDS_A_MILLISECOND
    quantiles = np.quantile(milliseconds, np.linspace(0.0, 1.0, LEVELS), axis=0).T
    rows = tuple(tuple(float(value) for value in row) for row in quantiles)
    return CallTimes(runtime.machine.fingerprint, len(milliseconds), rows, before)

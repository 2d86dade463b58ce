"""What a bundle's calls drew on one device: joules by exit, with error bars and where from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.exits import CostTable
from edgeexit.errors import ResourceError
from edgeexit.runtime.power.conditions import Conditions
from edgeexit.runtime.power.meter import MeterInfo
from edgeexit.runtime.power.windows import Fit

_ERRORS_FROM_ZERO = 2.0
_MILLIJOULES_A_JOULE = 1000.0
_LONGER = "measure for longer (edgeexit profile --energy --seconds N), with nothing else running."

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, from a block bootstrap over the windows.

    Attributes:
        value: The number.
        error: Its standard error, in the same unit.
    """

    value: float
    error: float


@dataclass(frozen=True)
class EnergyProfile:
    """What calls of one sample drew on one device.

    Marginal joules are those beyond idle power, which a device that stays on spends anyway; total
    joules hold the idle power during the call as well.

    Attributes:
        fingerprint: The device.
        meter: Where the joules come from, and whether they are only estimated.
        refused: Better meters that are here and were not used, with the reason.
        rounds: How often every activity had a window.
        window_seconds: Length of a window.
        idle: Watts of what the meter covers while nothing runs.
        exits: Marginal joules of a call that leaves at exit k, K of them.
        stages: What stage k adds to that, K of them.
        static: Marginal joules of a call of the static model.
        exits_total: Total joules of a call that leaves at exit k.
        static_total: Total joules of a call of the static model.
        before: Load, clocks and temperatures at the start.
        after: The same at the end.
    """

    fingerprint: str
    meter: MeterInfo
    refused: tuple[str, ...]
    rounds: int
    window_seconds: float
    idle: Estimate
    exits: tuple[Estimate, ...]
    stages: tuple[Estimate, ...]
    static: Estimate
    exits_total: tuple[Estimate, ...]
    static_total: Estimate
    before: Conditions
    after: Conditions


def energy_costs(profile: EnergyProfile, *, total: bool = False) -> tuple[Array, Array]:
    """Return what leaving at each exit costs and the standard errors, ``(K,)`` millijoules each.

    A later exit never counts as cheaper than an earlier one: within their errors they may cross.

    Args:
        profile: What was measured.
        total: Whether the idle power during the call counts as well.

    Raises:
        ResourceError: A cost is not told from zero: it is below twice its error.
    """
    estimates = profile.exits_total if total else profile.exits
    costs, errors = np.array([(e.value, e.error) for e in estimates]).T * _MILLIJOULES_A_JOULE
    lost = np.flatnonzero(costs <= _ERRORS_FROM_ZERO * errors)
    if lost.size:
        number = int(lost[0])
        how = "estimated at " if profile.meter.estimated else ""
        raise ResourceError(
            f"the energy of exit {number + 1} is {how}{costs[number]:.3g} mJ with a standard error "
            f"of {errors[number]:.3g} mJ: the meter ({profile.meter.source}) does not tell it from "
            "zero.",
            hint=_LONGER,
            code="energy.noise",
        )
    return np.maximum.accumulate(costs), errors


def energy_table(profile: EnergyProfile) -> CostTable:
    """Return what leaving at each exit costs in marginal millijoules, with standard errors.

    The table says whether the joules are only estimated, and in which power mode they were drawn.

    Raises:
        ResourceError: A cost is not told from zero, or from that of the exit before it
            (``energy.noise``).
    """
    costs, errors = energy_costs(profile)
    same = np.flatnonzero(np.diff(costs) <= 0)
    if same.size:
        number = int(same[0]) + 2
        how = "estimated" if profile.meter.estimated else "measured"
        raise ResourceError(
            f"exit {number} was {how} to draw {1000 * profile.exits[number - 1].value:.3g} mJ, "
            f"no more than the exits before it ({costs[number - 2]:.3g} mJ): the meter "
            f"({profile.meter.source}) does not tell them apart.",
            hint=_LONGER,
            code="energy.noise",
        )
    return CostTable(
        "energy",
        tuple(float(cost) for cost in costs),
        profile.static.value * _MILLIJOULES_A_JOULE,
        profile.fingerprint,
        tuple(float(error) for error in errors),
        estimated=profile.meter.estimated,
        mode=profile.before.mode,
    )


def total_joules(fit: Fit) -> tuple[Estimate, ...]:
    """Return the total joules of a call of each activity."""
    idle = fit.idle_draws[:, None] * fit.seconds_draws
    return estimates(fit.joules + fit.idle * fit.seconds, fit.joules_draws + idle)


def stage_joules(fit: Fit) -> tuple[Estimate, ...]:
    """Return what each stage adds, where the last activity is the static model."""
    exits, draws = fit.joules[:-1], fit.joules_draws[:, :-1]
    return estimates(np.diff(exits, prepend=0.0), np.diff(draws, axis=1, prepend=0.0))


def estimates(values: Array, draws: Array) -> tuple[Estimate, ...]:
    """Return values ``(A,)`` with the standard deviations of their draws ``(R, A)``."""
    errors = draws.std(axis=0, ddof=1)
    return tuple(
        Estimate(float(value), float(error)) for value, error in zip(values, errors, strict=True)
    )

"""Measures the energy of a bundle's calls on this device, and keeps it in the device's cache."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from edgeexit.bundle.cache import DeviceCache
from edgeexit.errors import ResourceError
from edgeexit.runtime.kept import Kept
from edgeexit.runtime.power.conditions import read_conditions
from edgeexit.runtime.power.cpu_time import PowerModel
from edgeexit.runtime.power.find import find_meter
from edgeexit.runtime.power.meter import Meter, MeterInfo
from edgeexit.runtime.power.profile import (
    EnergyProfile,
    estimates,
    stage_joules,
    total_joules,
)
from edgeexit.runtime.power.windows import MIN_ROUNDS, SETTLE_PERIODS, fit_windows, measure_windows
from edgeexit.runtime.profile import golden_inputs
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel

ENERGY_SECONDS = 30.0
"""How long to measure unless told otherwise; longer where a slow sensor asks for it."""

WINDOW_PERIODS = 50
"""Sensor periods a window: its two ends then err by 2 % of it at most, and at random."""

_MOST_ROUNDS = 1000
_WINDOW_CALLS = 3
_WARM_CALLS = 5
_IDLE_SHARE = 0.5
_KEPT = Kept("energy", EnergyProfile, "energy is measured again")


def load_or_measure_energy(
    runtime: Runtime, seconds: float | None = None, *, root: Path = Path("/")
) -> EnergyProfile:
    """Return the profile from the device's cache, or measure and keep it; :func:`measure_energy`.

    What was measured in another power mode of the device is measured again.

    Args:
        runtime: The running bundle.
        seconds: How long to measure.
        root: What stands in place of ``/`` where sensors and clocks are looked for.
    """
    kept = _KEPT.load_current(runtime.machine.cache, root)
    if kept is not None:
        return kept
    profile = measure_energy(runtime, seconds, root=root)
    keep_energy(runtime, profile)
    return profile


def kept_energy(cache: DeviceCache) -> EnergyProfile | None:
    """Return the profile in a device's cache, or None where there is none that can be read."""
    return _KEPT.load(cache)


def keep_energy(runtime: Runtime, profile: EnergyProfile) -> None:
    """Put a profile into the device's cache in place of an older one, where it can be written."""
    _KEPT.store(runtime.machine.cache, profile)


def measure_energy(
    runtime: Runtime,
    seconds: float | None = None,
    *,
    root: Path = Path("/"),
    progress: Callable[[float], None] = lambda done: None,
) -> EnergyProfile:
    """Measure calls that leave at each exit and calls of the static model, one golden sample each.

    A meter that fails on the way is refused, and the next best starts from the beginning.

    Args:
        runtime: The running bundle; nothing else should use it, or the machine, meanwhile.
        seconds: How long to measure; if None, :data:`ENERGY_SECONDS` or what the meter needs.
        root: What stands in place of ``/`` where sensors are looked for.
        progress: Called with the share that is done.

    Raises:
        ResourceError: The time is too short for the meter (``energy.rounds``), or the stages run
            on a GPU that nothing here measures (``power.none``).
        BundleError: The bundle has no golden inputs.
    """
    machine = runtime.machine
    model = PowerModel.of(machine.device.power, machine.device.name)
    gpu = machine.target.takes_device_arrays
    without: dict[str, str] = {}
    with contextlib.closing(WholeModel.of_bundle(runtime.bundle, machine, batch=1)) as static:
        calls = _calls(runtime, static)
        while True:
            found = find_meter(root, gpu=gpu, model=model, without=without)
            try:
                with found.meter as meter:
                    return _measure(runtime, calls, meter, found.refused, seconds, progress, root)
            except ResourceError as error:
                kind = found.meter.info.kind
                if not error.code.startswith("power.") or found.meter.info.estimated:
                    raise
                without[kind] = f"{kind}: {error}"


def _calls(runtime: Runtime, static: WholeModel) -> list[Callable[[], object]]:
    """Return a call that leaves at each exit, then one of the static model."""
    inputs = golden_inputs(runtime, 1)

    def leave_at(number: int) -> Callable[[], object]:
        return lambda: runtime.run_to(inputs, number)

    exits = [leave_at(number) for number in range(1, runtime.plan.exits + 1)]
    return [*exits, lambda: static(inputs)]


def _measure(
    runtime: Runtime,
    calls: Sequence[Callable[[], object]],
    meter: Meter,
    refused: tuple[str, ...],
    seconds: float | None,
    progress: Callable[[float], None],
    root: Path,
) -> EnergyProfile:
    slowest = max(_warm_up(call) for call in calls)
    shortest = max(WINDOW_PERIODS * meter.info.resolution, _WINDOW_CALLS * slowest)
    rounds, window = plan_windows(len(calls), shortest, seconds, meter.info)
    before = read_conditions(root)
    windows = measure_windows(meter, calls, rounds, window, _IDLE_SHARE, progress)
    fit = fit_windows(windows)
    (idle,) = estimates(np.array([fit.idle]), fit.idle_draws[:, None])
    *exits, static = estimates(fit.joules, fit.joules_draws)
    *exits_total, static_total = total_joules(fit)
    return EnergyProfile(
        fingerprint=runtime.machine.fingerprint,
        meter=meter.info,
        refused=refused,
        rounds=rounds,
        window_seconds=window,
        idle=idle,
        exits=tuple(exits),
        stages=stage_joules(fit),
        static=static,
        exits_total=tuple(exits_total),
        static_total=static_total,
        before=before,
        after=read_conditions(root),
    )


def _warm_up(call: Callable[[], object]) -> float:
    """Run a call a few times and return the seconds of the fastest."""
    times = []
    for _ in range(_WARM_CALLS):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return min(times)


def plan_windows(
    activities: int, shortest: float, seconds: float | None, meter: MeterInfo
) -> tuple[int, float]:
    """Return how many rounds fit into a time, and the seconds of a window.

    Args:
        activities: Windows a round, without the idle ones.
        shortest: Seconds that a window needs; they grow where there is time for more rounds than
            an error bar asks for.
        seconds: The time; if None, :data:`ENERGY_SECONDS` or what the least rounds need.
        meter: What is measured with.

    Raises:
        ResourceError: The time is too short (``energy.rounds``).
    """
    windows = activities * (1 + _IDLE_SHARE)
    settling = activities * 2 * SETTLE_PERIODS * meter.resolution
    needed = MIN_ROUNDS * (windows * shortest + settling)
    if seconds is None:
        seconds = max(ENERGY_SECONDS, needed)
    if seconds < needed:
        raise ResourceError(
            f"{seconds:g} s are too short to measure energy with the meter {meter.kind}, which "
            f"renews every {1000 * meter.resolution:g} ms: {math.ceil(needed)} s are enough.",
            hint=f"measure for longer: --seconds {math.ceil(needed)} or more.",
            code="energy.rounds",
        )
    window = max(shortest, (seconds / _MOST_ROUNDS - settling) / windows)
    # Rounding must not take away the last of the rounds that were just found to fit.
    return int(seconds / (windows * window + settling) + 1e-9), window

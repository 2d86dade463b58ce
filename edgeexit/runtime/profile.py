"""The measured profile of a bundle on one device: what each exit costs in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.cache import DeviceCache
from edgeexit.bundle.exits import CostTable
from edgeexit.runtime.inputs import InputCheck
from edgeexit.runtime.kept import Kept
from edgeexit.runtime.lane import Lane, take_samples
from edgeexit.runtime.power.conditions import Conditions, read_conditions
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.timing import NANOSECONDS_A_MILLISECOND, TimeStats, rounds_within
from edgeexit.runtime.whole import WholeModel

MEASURE_SECONDS = 4.0
"""How long a batch size is measured unless told otherwise."""

_MIN_ROUNDS = 21


@dataclass(frozen=True)
class BatchProfile:
    """Times at one batch size, taken in turn: every round runs each thing once.

    Attributes:
        batch: The batch size.
        stages: Times of each stage with its gate.
        call: Times of a whole call of the runtime that leaves at the last exit.
        static: Times of a whole call of the static model.
        moves: Median milliseconds of moving all samples to other buffers after each stage but
            the last, as where a batch shrinks.
    """

    batch: int
    stages: tuple[TimeStats, ...]
    call: TimeStats
    static: TimeStats
    moves: tuple[float, ...] = ()

    @property
    def overhead(self) -> float:
        """Milliseconds of a call outside its stages: checks, copies, the result."""
        return max(0.0, self.call.p50 - sum(stage.p50 for stage in self.stages))


@dataclass(frozen=True)
class DeviceProfile:
    """What was measured on one device. Nothing in it is modelled.

    Attributes:
        fingerprint: The device.
        batches: Times a batch size, batch 1 first.
        before: Load, clocks and temperatures at the start.
        after: The same at the end: heat and other processes show themselves there.
    """

    fingerprint: str
    batches: tuple[BatchProfile, ...]
    before: Conditions
    after: Conditions

    @property
    def load(self) -> float:
        """Runnable processes a core at the start, 0 where the system does not tell."""
        return self.before.load or 0.0

    def cost_table(self) -> CostTable:
        """Return what leaving at each exit costs at batch 1, in milliseconds (medians)."""
        single = self.batches[0]
        spent = np.cumsum([stage.p50 for stage in single.stages]) + single.overhead
        per_exit = tuple(float(cost) for cost in spent)
        mode = self.before.mode
        return CostTable("latency", per_exit, single.static.p50, self.fingerprint, mode=mode)


_KEPT = Kept("profile", DeviceProfile, "the profile is measured again")


def load_or_measure(
    runtime: Runtime,
    seconds: float = MEASURE_SECONDS,
    *,
    batches: Sequence[int] = (1,),
    root: Path = Path("/"),
) -> DeviceProfile:
    """Return the profile from the device's cache, or measure and keep it.

    What was measured in another power mode of the device is measured again, and so is all of a
    profile that lacks a size: sizes are compared with each other.

    Args:
        runtime: The running bundle.
        seconds: How long to measure each size.
        batches: Batch sizes that must be in it.
        root: What stands in place of ``/`` where clocks are looked for.
    """
    kept = _KEPT.load_current(runtime.machine.cache, root)
    if kept is not None:
        sizes = [batch.batch for batch in kept.batches]
        if set(batches) <= set(sizes):
            return kept
        batches = (*batches, *sizes)
    profile = measure_profile(runtime, batches, seconds, root=root)
    keep_profile(runtime, profile)
    return profile


def kept_profile(cache: DeviceCache) -> DeviceProfile | None:
    """Return the profile in a device's cache, or None where there is none that can be read."""
    return _KEPT.load(cache)


def keep_profile(runtime: Runtime, profile: DeviceProfile) -> None:
    """Put a profile into the device's cache in place of an older one, where it can be written."""
    _KEPT.store(runtime.machine.cache, profile)


def measure_profile(
    runtime: Runtime,
    batches: Sequence[int] = (1,),
    seconds: float = MEASURE_SECONDS,
    *,
    root: Path = Path("/"),
) -> DeviceProfile:
    """Measure stages, calls and the static model in turn, on the bundle's golden inputs.

    Args:
        runtime: The running bundle; nothing else should use it meanwhile.
        batches: Batch sizes; 1 is always measured, the others one by one where the bundle's
            rows must not leave a batch.
        seconds: How long to measure each.
        root: What stands in place of ``/`` where clocks are looked for.

    Raises:
        BundleError: The bundle has no golden inputs.
    """
    before = read_conditions(root)
    sizes = [1, *sorted({size for size in batches if size > 1 and runtime.plan.compacts})]
    measured = tuple(_measure(runtime, size, seconds) for size in sizes)
    return DeviceProfile(runtime.machine.fingerprint, measured, before, read_conditions(root))


def golden_inputs(runtime: Runtime, batch: int) -> dict[str, npt.NDArray[np.generic]]:
    """Return ``batch`` samples of the bundle's golden inputs, repeated as needed."""
    golden = runtime.bundle.golden().inputs
    plan = runtime.plan
    check = InputCheck(plan.inputs, plan.symbols, check_finite=False, on_invalid="error")
    checked = check(golden)
    slots = np.arange(batch) % checked.rows
    return {
        spec.name: take_samples(array, spec, slots)
        for spec, array in zip(plan.inputs, checked.arrays, strict=True)
    }


def _measure(runtime: Runtime, batch: int, seconds: float) -> BatchProfile:
    inputs = golden_inputs(runtime, batch)
    static = WholeModel.of_bundle(runtime.bundle, runtime.machine, batch=batch)
    try:
        with runtime.lane(inputs) as lane, runtime.lane(inputs) as other:
            moved = [f"move {k}" for k in range(1, runtime.plan.exits)]
            calls: dict[str, Callable[[], object]] = {
                "call": lambda: runtime.run_to(inputs, runtime.plan.exits),
                "static": lambda: static(inputs),
            }
            for index, name in enumerate(moved):
                calls[name] = partial(lane.move, index, np.arange(batch), other)
            times = _rounds(lane, calls, seconds)
    finally:
        static.close()
    stages = tuple(TimeStats.of(times[f"stage {k}"]) for k in range(1, runtime.plan.exits + 1))
    call, whole = TimeStats.of(times["call"]), TimeStats.of(times["static"])
    moves = tuple(float(np.median(times[name])) for name in moved)
    return BatchProfile(batch, stages, call, whole, moves)


def _rounds(
    lane: Lane, calls: Mapping[str, Callable[[], object]], seconds: float
) -> dict[str, npt.NDArray[np.float64]]:
    """Run everything in turn until the time is up; return milliseconds by name."""
    stages = {f"stage {k}": run for k, run in enumerate(lane.runs, start=1)}
    turns: list[tuple[str, Callable[[], object]]] = [*stages.items(), *calls.items()]
    times: dict[str, list[int]] = {name: [] for name, _ in turns}
    for counts in rounds_within(seconds, _MIN_ROUNDS):
        for name, run in turns:
            start = perf_counter_ns()
            run()
            spent = perf_counter_ns() - start
            if counts:
                times[name].append(spent)
    return {name: np.asarray(t) / NANOSECONDS_A_MILLISECOND for name, t in times.items()}

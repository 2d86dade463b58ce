"""The compiled stages of one bundle: a static set for single samples, one or more for batches."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from edgeexit.bundle.specs import BATCH
from edgeexit.runtime.compaction import SizeChoice
from edgeexit.runtime.lane import Lane
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.plan import Plan
from edgeexit.targets.base import Engine


class EngineSet:
    """Opens engines and makes lanes of them; threads may share it.

    Each compiled stage holds weights of its own, so the engines for batches are opened when the
    first batch comes, and never where none does. Where every bucket gets engines of its own, those
    of a bucket are opened when it is first needed.

    Args:
        machine: What to open them with.
        plan: The bundle's plan.
        files: One ONNX file a stage, verified.
        max_batch: Largest batch to run at once; None allows the device file's largest.

    Attributes:
        plan: The bundle's plan.
        buckets: The batch sizes that run, ascending; the first is 1.
    """

    def __init__(
        self, machine: Machine, plan: Plan, files: Sequence[Path], max_batch: int | None
    ) -> None:
        self.plan = plan
        if max_batch is not None and machine.largest_batch is not None:
            max_batch = min(max_batch, machine.largest_batch)
        self.buckets = _buckets(machine.buckets, max_batch) if plan.compacts else (1,)
        self._machine = machine
        self._files = tuple(files)
        # Reentrant: the first lane of a size warms itself under the lock.
        self._lock = threading.RLock()
        self._warm: set[tuple[int, tuple[int, ...]]] = set()
        # By batch size, or under 0 where one set takes every size.
        self._batches: dict[int, tuple[Engine, ...]] = {}
        self._widest = 1
        self._single = self._open({BATCH: 1})

    @cached_property
    def sizes(self) -> SizeChoice:
        """At which sizes batches run, by the profile that this device had when the first came."""
        return SizeChoice.of_cache(self._machine.cache, self.buckets, self.plan.exits)

    def lane(self, bucket: int, symbols: tuple[int, ...]) -> Lane:
        """Return a new lane for ``bucket`` samples at the given sizes.

        The first lane of a size runs on zeros, since engines prepare themselves at the first calls
        of every new size.
        """
        with self._lock:
            if bucket > self._widest and not self._machine.static_batches:
                self._widest = bucket
                self._warm_up_to(bucket, symbols)
            lane = self._lane(bucket, symbols)
            if (bucket, symbols) not in self._warm:
                self._warm_lane(lane, symbols)
            return lane

    def close(self) -> None:
        """Close all engines; lanes made of them must not be used any more."""
        with self._lock:
            for engines in (self._single, *self._batches.values()):
                for engine in engines:
                    engine.close()

    def _lane(self, bucket: int, symbols: tuple[int, ...]) -> Lane:
        return Lane(self.plan, self._engines_of(bucket), self.plan.dims(bucket, symbols))

    def _engines_of(self, bucket: int) -> tuple[Engine, ...]:
        if bucket == 1:
            return self._single
        size = bucket if self._machine.static_batches else 0
        if size not in self._batches:
            self._batches[size] = self._open({BATCH: size} if size else {})
        return self._batches[size]

    def _warm_up_to(self, bucket: int, symbols: tuple[int, ...]) -> None:
        for smaller in self.buckets[1:]:
            if smaller < bucket and (smaller, symbols) not in self._warm:
                self._warm_lane(self._lane(smaller, symbols), symbols)

    def _warm_lane(self, lane: Lane, symbols: tuple[int, ...]) -> None:
        # Engines built on a GPU record their launches at the second call of a size.
        for _ in range(2 if self._machine.target.builds_on_device else 1):
            for run in lane.runs:
                run()
        self._warm.add((lane.bucket, symbols))

    def _open(self, dims: dict[str, int]) -> tuple[Engine, ...]:
        opened: list[Engine] = []
        try:
            for stage, file in zip(self.plan.stages, self._files, strict=True):
                opened.append(
                    self._machine.open(file, stage.fed, stage.produced, dims, self.plan.native)
                )
        except BaseException:
            for engine in opened:
                engine.close()
            raise
        return tuple(opened)


def _buckets(buckets: Sequence[int], max_batch: int | None) -> tuple[int, ...]:
    """Return 1 and the buckets up to ``max_batch``, which itself becomes the largest."""
    sizes = sorted({1, *buckets})
    if max_batch is None:
        return tuple(sizes)
    return tuple(sorted({*sizes[: bisect_right(sizes, max_batch)], max_batch}))

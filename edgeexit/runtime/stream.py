"""Answers an iterator in its order, with samples of several batches sharing the deep stages."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgeexit.errors import EdgeExitError, InputError
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.inputs import Array, Checked, Inputs
from edgeexit.runtime.lane import Kept, Lane
from edgeexit.runtime.monitor import Monitor
from edgeexit.runtime.plan import Plan
from edgeexit.runtime.result import Result
from edgeexit.runtime.router import Watch
from edgeexit.runtime.setting import Setting
from edgeexit.runtime.worker import Worker

_NANOSECONDS_A_SECOND = 1e9

Where = tuple[int, tuple[int, ...]]
"""Where samples wait: the stage they need next, from 0, and their other dynamic sizes."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a stream needs of its runtime.

    Attributes:
        plan: The bundle's plan.
        monitor: Counts the answers.
        in_force: Returns the setting, the governor and the profile of this moment.
        check: Returns an item that fits the model.
        worker: Lends a worker.
    """

    plan: Plan
    monitor: Monitor
    in_force: Callable[[], tuple[Setting, Governor | None, Watch | None]]
    check: Callable[[Inputs], Checked]
    worker: Callable[[], AbstractContextManager[Worker]]


@dataclass(slots=True)
class _Waiting:
    """A sample that has not been answered.

    Attributes:
        index: Its place in the iterator.
        since: When it was taken from there, in seconds.
        rejected: Whether its input holds NaN or infinity.
        arrays: The inputs, before stage 1; after it what later stages read.
    """

    index: int
    since: float
    rejected: bool
    arrays: Kept


@dataclass(frozen=True, slots=True)
class Flow:
    """How a stream gathers samples.

    Attributes:
        batch: Samples a stage waits for.
        depth: Batches of samples that are taken and not yet handed out, at most.
        wait_ms: Milliseconds after which the oldest sample's stage runs with what is there; None
            waits for samples alone.
        clock: Seconds that only ever rise.
    """

    batch: int
    depth: int = 4
    wait_ms: float | None = None
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: One is out of bounds.
        """
        if self.batch < 1 or self.depth < 1 or not (self.wait_ms is None or self.wait_ms >= 0):
            raise InputError(
                f"a stream cannot have a batch of {self.batch}, a depth of {self.depth} and a wait "
                f"of {self.wait_ms} ms: 1 or more, 1 or more, and 0 or more or None, are right.",
                hint="correct the argument.",
                code="stream.argument",
            )


class Stream:
    """One iterator being answered. It works while it is asked for results, in that thread.

    Nothing is held between two results but copies of samples in host memory, at most ``depth``
    batches of them: no worker, no thread, no queue that could grow.

    Args:
        host: What it needs of the runtime.
        items: One sample each.
        flow: How to gather them.

    Raises:
        InputError: ``items`` cannot be iterated over.
    """

    def __init__(self, host: Streamed, items: Iterable[Inputs], flow: Flow) -> None:
        self._host = host
        self._items: Iterator[Inputs] | None = _iterated(items)
        self._flow = flow
        self._pools: dict[Where, deque[_Waiting]] = {}
        self._where: dict[int, Where] = {}
        self._since: dict[int, float] = {}
        self._done: dict[int, Result] = {}
        self._taken = self._given = 0
        self._failure: BaseException | None = None
        self._busy = 0.0

    def results(self) -> Iterator[Result]:
        """Yield one result a sample, in order.

        Raises:
            EdgeExitError: A sample does not fit, the iterator failed, or a stage did; the results
                of the samples before it have been handed out.
        """
        try:
            while True:
                while self._given in self._done:
                    self._given += 1
                    yield self._done.pop(self._given - 1)
                if not self._step():
                    break
            if self._failure is not None:
                raise self._failure
        finally:
            self._items = None
            self._pools.clear()
            self._done.clear()

    def _step(self) -> bool:
        """Run one stage or take one sample; False where nothing is left to do."""
        full = [at for at, pool in self._pools.items() if len(pool) >= self._flow.batch]
        if full:
            self._run(max(full))
        elif self._may_take():
            self._take()
        elif not self._where:
            return False
        elif self._items is None:
            # Nothing more comes: shallow stages first, so that the deep ones run once.
            self._run(min(self._pools))
        else:
            self._run(self._where[self._given])
        return True

    def _may_take(self) -> bool:
        if self._items is None or self._taken - self._given >= self._flow.batch * self._flow.depth:
            return False
        wait = self._flow.wait_ms
        if wait is None or not self._where:
            return True
        return (self._flow.clock() - self._since[self._given]) * 1000 < wait

    def _take(self) -> None:
        index = self._taken
        try:
            item = next(self._items or iter(()))
            checked = self._host.check(item)
            if checked.rows != 1:
                raise InputError(
                    f"an item of a stream is one sample, and this one holds {checked.rows}.",
                    hint="iterate over samples; the stream makes the batches.",
                    code="stream.item",
                )
            arrays = [_copied(array) for array in checked.arrays]
        except StopIteration:
            self._items = None
            return
        except EdgeExitError as error:
            self._end_with(_about(f"item {index}", error))
            return
        except Exception as error:
            failure = InputError(
                f"item {index}: the iterator failed: {type(error).__name__}: {error}",
                hint="mend what is iterated over; the items before this one are answered.",
                code="stream.source",
            )
            failure.__cause__ = error
            self._end_with(failure)
            return
        self._taken += 1
        now = self._flow.clock()
        self._since[index] = now
        self._park((0, checked.symbols), _Waiting(index, now, checked.rejected is not None, arrays))

    def _end_with(self, failure: BaseException) -> None:
        self._failure, self._items = failure, None

    def _park(self, where: Where, sample: _Waiting) -> None:
        self._pools.setdefault(where, deque()).append(sample)
        self._where[sample.index] = where

    def _run(self, where: Where) -> None:
        """Run a stage on the samples that have waited for it longest."""
        pool = self._pools[where]
        group = [pool.popleft() for _ in range(min(len(pool), self._flow.batch))]
        if not pool:
            del self._pools[where]
        start = self._flow.clock()
        setting, governor, watch = self._host.in_force()
        try:
            with self._host.worker() as worker:
                lane = worker.lane(len(group), where[1], setting)
                exits = self._run_lane(lane, where, group, setting, watch)
        except EdgeExitError as error:
            names = ", ".join(str(sample.index) for sample in group)
            raise _about(f"items {names}, stage {where[0] + 1}", error) from error
        self._busy += self._flow.clock() - start
        if exits:
            self._tell(exits, setting, governor)

    def _run_lane(
        self, lane: Lane, where: Where, group: list[_Waiting], setting: Setting, watch: Watch | None
    ) -> list[Result]:
        """Run the stage; park who stays and return the results of who leaves."""
        index, symbols = where
        if index:
            lane.restore(index - 1, [sample.arrays for sample in group])
        else:
            lane.write_each([sample.arrays for sample in group])
        (watch.timed(lane) if watch else lane.runs)[index]()
        slots = np.arange(len(group))
        if index == len(setting.limits):
            scores = np.full(len(group), np.nan, np.float32)
            leaving = np.ones(len(group), np.bool_)
        else:
            scores = lane.scores[index]()[slots]
            leaving = scores >= setting.limits[index]
            leaving &= ~np.array([sample.rejected for sample in group])
        staying = slots[~leaving]
        kept = lane.keep(index, staying) if len(staying) else []
        for slot, arrays in zip(staying.tolist(), kept, strict=True):
            group[slot].arrays = arrays
            self._park((index + 1, symbols), group[slot])
        return self._answer(lane, index, group, slots[leaving], scores)

    def _answer(
        self,
        lane: Lane,
        index: int,
        group: list[_Waiting],
        slots: npt.NDArray[np.intp],
        scores: npt.NDArray[np.float32],
    ) -> list[Result]:
        if not len(slots):
            return []
        plan = self._host.plan
        logits = lane.logits(index, slots)
        extras = lane.extras(index, slots) if lane.has_extras(index) else {}
        results = []
        for row, slot in enumerate(slots.tolist()):
            one = slice(row, row + 1)
            result = Result(
                logits[one] if plan.uniform else [logits[row]],
                np.array([index + 1], np.int32),
                scores[slot : slot + 1].copy(),
                {name: array[one] for name, array in extras.items()},
                plan.costs,
                np.ones(1, np.bool_) if group[slot].rejected else None,
            )
            sample = group[slot].index
            self._done[sample] = result
            del self._where[sample], self._since[sample]
            results.append(result)
        return results

    def _tell(self, results: list[Result], setting: Setting, governor: Governor | None) -> None:
        """Count the answers; the time since the last ones is theirs."""
        each = int(self._busy / len(results) * _NANOSECONDS_A_SECOND)
        for result in results:
            self._host.monitor.note(result, setting, each)
        if governor is not None:
            exits = np.concatenate([result.exits for result in results])
            governor.answered(exits, self._busy, len(self._where))
        self._busy = 0.0


def _iterated(items: Iterable[Inputs]) -> Iterator[Inputs]:
    try:
        return iter(items)
    except TypeError:
        raise InputError(
            f"a stream goes over samples, and a {type(items).__name__} cannot be iterated over.",
            hint="give a list, a generator or an array whose first axis is that of the samples.",
            code="stream.items",
        ) from None


def _copied(array: Array) -> npt.NDArray[np.generic]:
    """Return a copy: whoever iterates may use its memory again."""
    if isinstance(array, np.ndarray):
        return array.copy()
    raise InputError(
        "an array on the GPU cannot wait in a stream, which gathers samples in host memory.",
        hint="give numpy arrays, or call the runtime with batches on the GPU.",
        code="stream.device",
    )


def _about(what: str, error: EdgeExitError) -> EdgeExitError:
    """Return the same error, with its place in the stream said first."""
    named = type(error)(f"{what}: {error.message}", hint=error.hint, code=error.code)
    named.__cause__ = error
    return named

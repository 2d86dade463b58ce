"""The buffers of one concurrent call, and the pool from which calls take them."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeexit.errors import InputError, ResourceError
from edgeexit.runtime.compaction import SizeChoice
from edgeexit.runtime.dial import Dial
from edgeexit.runtime.engines import EngineSet
from edgeexit.runtime.lane import Lane

_MAX_LANES = 16
"""Lanes a worker keeps where a model has other dynamic sizes than the batch."""

EXIT_SECONDS = 5.0
"""How long the end of the interpreter waits for calls in other threads."""

_DRAIN_SECONDS = 0.001


class Worker:
    """Lanes by size, made when first needed. One thread at a time.

    Args:
        engines: The compiled stages.
    """

    __slots__ = ("__weakref__", "_engines", "_lanes", "plan")

    def __init__(self, engines: EngineSet) -> None:
        self._engines = engines
        self._lanes: dict[tuple[int, tuple[int, ...]], Lane] = {}
        self.plan = engines.plan

    @property
    def largest(self) -> int:
        """Samples that the largest lane holds."""
        return self._engines.buckets[-1]

    @property
    def sizes(self) -> SizeChoice:
        """At which sizes batches run."""
        return self._engines.sizes

    def bucket(self, rows: int) -> int:
        """Return the smallest bucket that holds ``rows`` samples.

        Raises:
            InputError: There is none.
        """
        buckets = self._engines.buckets
        place = bisect_left(buckets, rows)
        if place == len(buckets):
            raise _too_many(rows, self.largest)
        return buckets[place]

    def lane(self, rows: int, symbols: tuple[int, ...], dial: Dial) -> Lane:
        """Return a lane for ``rows`` samples, its gates set to ``dial``.

        Args:
            rows: Samples, at most :attr:`largest`.
            symbols: Sizes of the other symbols.
            dial: The setting of this call.

        Raises:
            InputError: There are more samples than the largest lane holds.
        """
        return self.lane_of(1 if rows == 1 else self.bucket(rows), symbols, dial)

    def lane_of(self, bucket: int, symbols: tuple[int, ...], dial: Dial) -> Lane:
        """Return the lane of one of the sizes that run; otherwise as :meth:`lane`."""
        key = (bucket, symbols)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._make(key)
        elif symbols:
            # The order of the dict is the order of last use.
            self._lanes[key] = self._lanes.pop(key)
        lane.apply(dial)
        return lane

    def _make(self, key: tuple[int, tuple[int, ...]]) -> Lane:
        lane = self._engines.lane(*key)
        if self.plan.symbols and len(self._lanes) >= _MAX_LANES:
            del self._lanes[next(iter(self._lanes))]
        self._lanes[key] = lane
        return lane


class Pool:
    """Workers waiting for a call. As many are made as calls ever ran at once.

    Args:
        make: Makes a worker.
    """

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make = make
        self._idle: deque[Worker] = deque()
        # A thread stands here as often as it has a worker. It is entered before the worker is
        # taken and struck out after, so that an interruption in between loses nothing but a worker.
        self._callers: list[int] = []
        self._closed = False

    def take(self) -> Worker:
        """Return a worker for one call, the one used last if any is idle.

        Raises:
            ResourceError: The pool is closed.
        """
        # Appending, popping and removing are atomic in CPython: no lock is needed.
        self._callers.append(threading.get_ident())
        try:
            if self._closed:
                raise _closed_runtime()
            try:
                return self._idle.pop()
            except IndexError:
                return self._make()
        except BaseException:
            self.discard()
            raise

    def give(self, worker: Worker) -> None:
        """Take back a worker whose call has ended well, in the thread that took it."""
        self._idle.append(worker)
        self._callers.remove(threading.get_ident())

    def discard(self) -> None:
        """Forget this thread's worker, whose call failed: its buffers may be in any state."""
        self._callers.remove(threading.get_ident())

    @contextmanager
    def lent(self) -> Iterator[Worker]:
        """Lend a worker for the block, and forget it if that fails.

        Raises:
            ResourceError: The pool is closed.
        """
        worker = self.take()
        try:
            yield worker
        except BaseException:
            self.discard()
            raise
        self.give(worker)

    def close(self, seconds: float) -> bool:
        """Let no further call begin, wait for those of other threads and drop the workers.

        A call of this very thread cannot be under way: it was interrupted, as by Ctrl-C.

        Args:
            seconds: How long to wait at most.

        Returns:
            True once no call runs.
        """
        self._closed = True
        here, end = threading.get_ident(), time.monotonic() + seconds
        while any(caller != here for caller in tuple(self._callers)):
            if time.monotonic() > end:
                return False
            time.sleep(_DRAIN_SECONDS)
        self._idle.clear()
        return True


def shut(pool: Pool, free: Callable[[], None], process: int, seconds: float) -> None:
    """Free the engines once no call runs, but only in the process that opened them."""
    if os.getpid() == process and pool.close(seconds):
        free()


def forked_runtime(process: int) -> ResourceError:
    """Return the error for a call in a child of the process that opened the runtime."""
    return ResourceError(
        f"this runtime was opened by process {process}, and process {os.getpid()} was "
        "forked from it: an engine's threads do not survive a fork.",
        hint="open the bundle in the process that uses it.",
        code="runtime.forked",
    )


def _too_many(rows: int, largest: int) -> InputError:
    """Return the error for more samples than run at once."""
    return InputError(
        f"{rows} samples do not run at once: {largest} do.",
        hint="give fewer samples, or open the runtime with a larger max_batch.",
        code="input.batch",
    )


def _closed_runtime() -> ResourceError:
    """Return the error for a call on a closed runtime."""
    return ResourceError(
        "this runtime is closed and can answer no more.",
        hint="open the bundle again: edgeexit.Runtime(...).",
        code="runtime.closed",
    )

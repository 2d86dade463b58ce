"""Copies of the compiled stages, for engines that run one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from weakref import ref

from edgeexit.runtime.engines import EngineSet
from edgeexit.runtime.worker import Worker


class Replicas:
    """Engine sets of the same stages; their workers are spread evenly. Threads may share it.

    Args:
        open_engines: Opens one engine set; called at once, as often as there are to be.
        count: How many there are to be, 1 or more.
    """

    def __init__(self, open_engines: Callable[[], EngineSet], count: int) -> None:
        self._sets: list[EngineSet] = []
        # Without callbacks, in which Python would swallow an interruption.
        self._workers: list[list[ref[Worker]]] = [[] for _ in range(count)]
        self._lock = threading.Lock()
        try:
            for _ in range(count):
                self._sets.append(open_engines())
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[EngineSet]:
        return iter(self._sets)

    @property
    def buckets(self) -> tuple[int, ...]:
        """The batch sizes that run, ascending; the first is 1."""
        return self._sets[0].buckets

    def worker(self) -> Worker:
        """Return a new worker on the engines that have the fewest."""
        with self._lock:
            for held in self._workers:
                held[:] = [worker for worker in held if worker() is not None]
            place = min(range(len(self._sets)), key=lambda at: len(self._workers[at]))
            made = Worker(self._sets[place])
            self._workers[place].append(ref(made))
            return made

    def close(self) -> None:
        """Close all engines; lanes made of them must not be used any more."""
        for engines in self._sets:
            engines.close()

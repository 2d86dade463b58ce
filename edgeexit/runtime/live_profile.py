"""What the calls of a runtime spend, stage by stage, while somebody looks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.errors import ResourceError
from edgeexit.runtime.lane import Lane
from edgeexit.runtime.result import Result
from edgeexit.runtime.timing import NANOSECONDS_A_MILLISECOND
from edgeexit.runtime.trace import Span, write_trace

_MAX_SPANS = 200_000
"""Spans kept for the trace (about 50 MB); the sums of the summary go on beyond it."""


@dataclass(frozen=True)
class StageTimes:
    """How long one stage took, at all batch sizes together.

    Attributes:
        number: The stage, from 1.
        runs: How often it ran.
        slots: Samples it computed, padding included.
        total_ms: Milliseconds in all.
        median_ms: Median of a run (of the runs that the trace holds).
        p95_ms: What 95 % of them stay below.
        min_ms: The shortest run.
    """

    number: int
    runs: int
    slots: int
    total_ms: float
    median_ms: float
    p95_ms: float
    min_ms: float


@dataclass(frozen=True)
class ProfileSummary:
    """What a profile found.

    Attributes:
        calls: Calls of the runtime.
        samples: Samples answered.
        call_ms: Milliseconds in calls, stages included.
        stages: Times a stage.
        exits: ``(K,)`` samples that left at each exit.
    """

    calls: int
    samples: int
    call_ms: float
    stages: tuple[StageTimes, ...]
    exits: npt.NDArray[np.int64]

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """``(K,)`` fractions of the samples that left at each exit."""
        shares: npt.NDArray[np.float64] = self.exits / max(self.samples, 1)
        return shares


class Profile:
    """Collects times and exits; made by ``runtime.profile()``. Threads may share it.

    Args:
        exits: The number K of exits.
    """

    def __init__(self, exits: int) -> None:
        self._lock = threading.Lock()
        self._times: list[list[int]] = [[] for _ in range(exits)]
        self._totals = np.zeros((exits, 3), np.int64)
        self._exits = np.zeros(exits, np.int64)
        self._calls = 0
        self._call_time = 0
        self._spans: list[Span] = []
        self._threads: dict[int, str] = {}

    def timed(self, lane: Lane) -> Sequence[Callable[[], None]]:
        """Return calls that run the lane's stages and note how long each took."""
        return [self._timed(index, run, lane.bucket) for index, run in enumerate(lane.runs)]

    @contextmanager
    def call(self) -> Iterator[Callable[[Result], Result]]:
        """Note one call: hand its result to the function given."""
        answered: list[Result] = []

        def done(result: Result) -> Result:
            answered.append(result)
            return result

        start = perf_counter_ns()
        yield done
        end = perf_counter_ns()
        exits = answered[0].exits
        with self._lock:
            self._calls += 1
            self._call_time += end - start
            self._exits += np.bincount(exits - 1, minlength=len(self._exits))
            details = {"samples": len(exits), "mean exit": float(exits.mean())}
            self._keep(Span("call", start, end, threading.get_native_id(), details))

    def summary(self) -> ProfileSummary:
        """Return what was found so far."""
        with self._lock:
            stages = tuple(
                _stage_times(index + 1, times, totals)
                for index, (times, totals) in enumerate(
                    zip(self._times, self._totals.tolist(), strict=True)
                )
            )
            return ProfileSummary(
                self._calls,
                int(self._exits.sum()),
                self._call_time / NANOSECONDS_A_MILLISECOND,
                stages,
                self._exits.copy(),
            )

    def save_trace(self, path: str | os.PathLike[str]) -> None:
        """Write a trace that Perfetto and chrome://tracing open.

        Raises:
            ResourceError: The place is full or read-only.
        """
        with self._lock:
            spans, threads = list(self._spans), dict(self._threads)
        write_trace(spans, threads, Path(path))

    def _timed(self, index: int, run: Callable[[], None], bucket: int) -> Callable[[], None]:
        def timed() -> None:
            start = perf_counter_ns()
            run()
            self._note(index, start, perf_counter_ns(), bucket)

        return timed

    def _note(self, index: int, start: int, end: int, bucket: int) -> None:
        with self._lock:
            totals = self._totals[index]
            totals += (1, bucket, end - start)
            details: dict[str, Any] = {"batch": bucket}
            span = Span(f"stage {index + 1}", start, end, threading.get_native_id(), details)
            if self._keep(span):
                self._times[index].append(end - start)

    def _keep(self, span: Span) -> bool:
        if len(self._spans) >= _MAX_SPANS:
            return False
        if span.thread not in self._threads:
            self._threads[span.thread] = threading.current_thread().name
        self._spans.append(span)
        return True


def profile_active() -> ResourceError:
    """Return the error for a second profile of one runtime."""
    return ResourceError(
        "a profile of this runtime is being taken already.",
        hint="leave the other `with runtime.profile()` block first.",
        code="runtime.profile-active",
    )


def _stage_times(number: int, times: list[int], totals: list[int]) -> StageTimes:
    runs, slots, total = totals
    milliseconds = np.asarray(times or [0]) / NANOSECONDS_A_MILLISECOND
    return StageTimes(
        number,
        runs,
        slots,
        total / NANOSECONDS_A_MILLISECOND,
        float(np.median(milliseconds)),
        float(np.percentile(milliseconds, 95)),
        float(milliseconds.min()),
    )

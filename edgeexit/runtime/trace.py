"""Traces in the Trace Event Format, which Perfetto and chrome://tracing open.

Spans are complete events (``X``). On one thread they must nest or lie apart: Perfetto drops one
that overlaps another in part. It also reads thread identifiers as 32-bit numbers and puts all
threads with larger ones, such as Python's own, onto one track.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.bundle.atomic import write_atomic

_NANOSECONDS_A_MICROSECOND = 1000


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time.

    Attributes:
        name: What it was.
        start: Nanoseconds on the monotonic clock.
        end: Likewise.
        thread: The system's identifier of its thread, a 32-bit number on Linux.
        details: Numbers shown beside it.
    """

    name: str
    start: int
    end: int
    thread: int
    details: dict[str, Any]


def trace_events(spans: Iterable[Span], threads: Mapping[int, str]) -> dict[str, Any]:
    """Return the spans as a Trace Event Format object, times in microseconds from the first.

    Args:
        spans: In any order.
        threads: A name for each thread.
    """
    ordered = sorted(spans, key=lambda span: (span.start, -span.end))
    origin = ordered[0].start if ordered else 0
    process = os.getpid()
    events: list[dict[str, Any]] = [
        {
            "name": span.name,
            "cat": "edgeexit",
            "ph": "X",
            "ts": (span.start - origin) / _NANOSECONDS_A_MICROSECOND,
            "dur": (span.end - span.start) / _NANOSECONDS_A_MICROSECOND,
            "pid": process,
            "tid": span.thread,
            "args": span.details,
        }
        for span in ordered
    ]
    names = [_name("process_name", process, process, "edgeexit")]
    names += [_name("thread_name", process, number, name) for number, name in threads.items()]
    return {"traceEvents": names + events}


def write_trace(spans: Iterable[Span], threads: Mapping[int, str], path: Path) -> None:
    """Write the spans to ``path``, atomically; :func:`trace_events` has the arguments.

    Raises:
        ResourceError: The place is full or read-only.
    """
    write_atomic(path, json.dumps(trace_events(spans, threads)).encode("utf-8"))


def _name(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    """Return the metadata event that names a process or a thread."""
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}

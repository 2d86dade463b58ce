"""Traces in the Trace Event Format, which Perfetto and chrome://tracing open."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
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
        thread: Identifier of its thread.
        details: Numbers shown beside it.
    """

    name: str
    start: int
    end: int
    thread: int
    details: dict[str, Any]


def trace_events(spans: Iterable[Span]) -> dict[str, Any]:
    """Return the spans as a Trace Event Format object, times in microseconds from the first."""
    ordered = sorted(spans, key=lambda span: (span.start, -span.end))
    origin = ordered[0].start if ordered else 0
    process = os.getpid()
    events = [
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
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def write_trace(spans: Iterable[Span], path: Path) -> None:
    """Write the spans to ``path``, atomically.

    Raises:
        ResourceError: The place is full or read-only.
    """
    write_atomic(path, json.dumps(trace_events(spans)).encode("utf-8"))

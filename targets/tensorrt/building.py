"""Building a plan in a process of its own: a crash of the builder is an error here, not an end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from edgeexit.errors import EdgeExitError, ResourceError, TargetError
from edgeexit.targets.child import child_place
from edgeexit.targets.faults import signal_name
from edgeexit.targets.info import BuiltLayer, Report
from edgeexit.targets.tensorrt.job import GATHER, MEMORY_HINT, BuildJob

MAX_SECONDS = 7200.0
"""A stage takes seconds on a PC and minutes on a Jetson; after this, something hangs."""

_SHOWN_WORDS = 4
_SHOWN_BYTES = 2000


@dataclass(frozen=True)
class BuiltPlan:
    """What the builder's process told of a plan that it has written.

    Attributes:
        seconds: How long it took.
        layers: The plan's layers, empty where the builder does not tell.
        words: Warnings of the builder, the latest.
    """

    seconds: float
    layers: tuple[BuiltLayer, ...]
    words: tuple[str, ...]


def build_plan(
    module: str,
    job: BuildJob,
    plan: Path,
    report: Report | None = None,
    max_seconds: float = MAX_SECONDS,
) -> BuiltPlan:
    """Build a plan in a child process and write it to a file, which is removed on any failure.

    Args:
        module: ``tensorrt`` or ``tensorrt_rtx``.
        job: What to build.
        plan: The file to write; nobody else may use it.
        report: Told the phase and the progress, from 0 to 1.
        max_seconds: The child is killed after so many.

    Raises:
        TargetError: The module is not there, the model or the job is refused, or the child died
            or took too long. The builder's own words are in the message.
        ResourceError: The plan cannot be written.
    """
    # The child has another working folder.
    if job.model != GATHER:
        job = replace(job, model=str(Path(job.model).resolve()))
    if job.timing_cache is not None:
        job = replace(job, timing_cache=str(Path(job.timing_cache).resolve()))
    request = {"module": module, "job": job.to_json(), "plan": str(plan.resolve())}
    began = time.monotonic()
    try:
        end, words = _run(json.dumps(request), Path(job.model).name, report, max_seconds)
    except BaseException:
        plan.unlink(missing_ok=True)
        raise
    layers = tuple(BuiltLayer(*layer) for layer in end["layers"])
    return BuiltPlan(time.monotonic() - began, layers, tuple(words))


def _run(
    request: str, model: str, report: Report | None, max_seconds: float
) -> tuple[dict[str, Any], list[str]]:
    """Return the last event of a child that built the plan, and its latest words."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as noise, _child(noise) as child:
        timer = threading.Timer(max_seconds, child.kill)
        timer.daemon = True
        timer.start()
        try:
            end, words = _follow(child, request, report)
        finally:
            timer.cancel()
        late = time.monotonic() - began >= max_seconds
        _check_end(child, end, [*words, *_tail(noise)], model, max_seconds if late else None)
        return end, list(words)


def _child(noise: IO[bytes]) -> _Process:
    home, environment = child_place()
    return _Process(
        [sys.executable, "-m", "edgeexit.targets.tensorrt.builder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=noise,
        cwd=home,
        env=environment,
        encoding="utf-8",
    )


class _Process(subprocess.Popen[str]):
    """A process that is killed where the block is left before it has ended."""

    def __exit__(self, *error: Any) -> None:
        if self.poll() is None:
            self.kill()
        assert self.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        super().__exit__(*error)


def _follow(
    child: _Process, request: str, report: Report | None
) -> tuple[dict[str, Any], deque[str]]:
    """Return the last event of the child, empty where it died before, and its latest words."""
    words: deque[str] = deque(maxlen=_SHOWN_WORDS)
    assert child.stdin is not None
    # Where the child is gone already, its end tells more than the broken pipe.
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(request + "\n")
        child.stdin.flush()
    end: dict[str, Any] = {}
    for event in _events(child):
        if event["event"] == "progress" and report is not None:
            report(event["phase"], event["fraction"])
        elif event["event"] == "word":
            words.append(event["text"].strip())
        elif event["event"] in ("error", "done"):
            end = event
    child.wait()
    return end, words


def _events(child: _Process) -> Iterator[dict[str, Any]]:
    assert child.stdout is not None
    for line in child.stdout:
        # A killed child may leave half a line.
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def _check_end(
    child: _Process,
    end: dict[str, Any],
    words: list[str],
    model: str,
    late: float | None,
) -> None:
    """Raise what a child's end means; nothing where it built the plan."""
    what = f"the engine of {model}"
    if end.get("event") == "error":
        family: type[EdgeExitError] = (
            ResourceError if end["code"].startswith("resource.") else TargetError
        )
        raise family(end["message"], hint=end["hint"], code=end["code"])
    if end.get("event") == "done" and child.returncode == 0:
        return
    said = f" Its last words: {' '.join(words)}" if words else " It said nothing."
    if late is not None:
        raise TargetError(
            f"{what} was not built in {late:.0f} s, and its builder was stopped.{said}",
            hint="lower optimization_level in the [settings] of the device file.",
            code="target.build-time",
        )
    raise _died(what, child.returncode, said)


def _died(what: str, code: int, said: str) -> TargetError:
    if code >= 0:
        return TargetError(
            f"{what} was not built: its builder ended with code {code}.{said}",
            hint="run edgeexit doctor on this device, and report what it prints.",
            code="target.build-died",
        )
    name = signal_name(-code)
    if name == "SIGKILL":
        return TargetError(
            f"{what} was not built: its builder was killed by SIGKILL, which is what Linux does "
            f"when memory runs out, as it may on a Jetson of 8 GB.{said}",
            hint=MEMORY_HINT,
            code="target.build-killed",
        )
    return TargetError(
        f"{what} was not built: its builder crashed by {name}.{said}",
        hint="run edgeexit doctor: without a usable GPU TensorRT crashes; else report the words "
        "above, and try a lower optimization_level in the [settings] of the device file.",
        code="target.build-died",
    )


def _tail(noise: IO[bytes]) -> list[str]:
    size = noise.seek(0, os.SEEK_END)
    noise.seek(max(0, size - _SHOWN_BYTES))
    lines = noise.read().decode("utf-8", "replace").splitlines()
    return [line.strip() for line in lines if line.strip()][-_SHOWN_WORDS:]

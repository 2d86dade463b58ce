"""Who takes part in one model's race at one batch size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from tests.benchmarks.folders import cache_folder
from tests.benchmarks.race.course import Course
from tests.benchmarks.race.earlyon_racer import earlyon_racers, missing_earlyon
from tests.benchmarks.race.engine_racers import edgeexit_racer, if_racer, static_racer, torch_racer
from tests.benchmarks.race.monolith import write_monolith
from tests.benchmarks.race.racer import Racer

EVERY_KIND = (("x86", "f32"), ("x86", "int8"), ("cpu", "f32"), ("cpu", "int8"))
"""Devices and precisions of edgeexit: OpenVINO and ONNX Runtime."""

JUDGED = ("x86", "int8")
AGAIN = "again"
"""A second copy of the judged one, to see what this machine makes of a ratio of 1."""

IF_DEVICES = ("x86", "cpu")


@dataclass(frozen=True)
class Heat:
    """One race to run.

    Attributes:
        batch: Images a call.
        threads: Threads of every contestant.
        kinds: Devices and precisions of edgeexit that take part.
        others: Whether earlyon's stages and the ``If`` graphs take part too, and whether answers
            are compared: they depend on threads no more than rounding does.
    """

    batch: int
    threads: int
    kinds: tuple[tuple[str, str], ...] = EVERY_KIND
    others: bool = True

    @property
    def name(self) -> str:
        """The heat as part of a row's name."""
        return f"batch-{self.batch}.threads-{self.threads}"

    @property
    def title(self) -> str:
        """The same in words."""
        return f"batch {self.batch}, {self.threads} thread{'s' * (self.threads > 1)}"


def line_up(
    course: Course, heat: Heat, stack: ExitStack
) -> tuple[dict[str, Racer], dict[str, str]]:
    """Return the contestants by name, and what engines say that refuse the ``If`` graph."""
    stack.enter_context(_torch_threads(heat.threads))
    batch, threads = heat.batch, heat.threads
    found = [torch_racer(course.form)]
    if not missing_earlyon():
        racers = earlyon_racers(course.form, course.thresholds, batch)
        found += racers if heat.others else racers[:1]
    for kind in heat.kinds:
        found.append(edgeexit_racer(course, kind, batch, threads, stack))
        found.append(static_racer(course, kind, batch, threads, stack))
    found.append(edgeexit_racer(course, JUDGED, batch, threads, stack, AGAIN))
    refused = {}
    if heat.others:
        path = cache_folder() / f"race-{course.name}-if.onnx"
        graph = path, write_monolith(course.bundles["f32"], course.thresholds, path)
        for device in IF_DEVICES:
            racer = if_racer(course, device, graph, batch, threads, stack)
            if isinstance(racer, Racer):
                found.append(racer)
            else:
                refused[device] = racer
    return {racer.name: racer for racer in found}, refused


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

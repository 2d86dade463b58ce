"""edgeexit, whole models without exits, and the ``If`` graph, each on the engine it is given."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import EdgeExitError
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
from tests.benchmarks.race.course import Course
from tests.benchmarks.race.racer import Answers, Racer
from tests.benchmarks.race.torch_form import TorchForm

TRIED = 32
"""Calls of an ``If`` graph before it may take part."""


def edgeexit_racer(
    course: Course,
    kind: tuple[str, str],
    batch: int,
    threads: int,
    stack: ExitStack,
    name: str = "",
) -> Racer:
    """Return the runtime on a device in a precision; ``stack`` closes it."""
    device, precision = kind
    runtime = Runtime(
        course.bundles[precision],
        course.budget,
        target=device,
        exits=course.exits_files[precision],
        threads=threads,
        max_batch=batch,
    )
    stack.callback(runtime.close)
    return Racer(name or f"edgeexit.{device}.{precision}", runtime, _of_result)


def static_racer(
    course: Course, kind: tuple[str, str], batch: int, threads: int, stack: ExitStack
) -> Racer:
    """Return the whole model without early exits on the same engine."""
    device, precision = kind
    bundle = course.bundles[precision]
    machine = Machine.of(bundle, device, threads)
    model = WholeModel.of_bundle(bundle, machine, batch=batch)
    stack.callback(model.close)
    exits = len(bundle.manifest.stages)
    return Racer(f"static.{device}.{precision}", model, lambda out: _last(out[0], exits))


def torch_racer(form: TorchForm) -> Racer:
    """Return the whole model without early exits in eager PyTorch."""
    exits = len(form.layers) + 1

    def call(images: torch.Tensor) -> Any:
        with torch.inference_mode():
            return form.trunk(images)

    return Racer("torch", call, lambda out: _last(out.numpy(), exits), torch.from_numpy)


def if_racer(
    course: Course,
    device: str,
    graph: tuple[Path, list[TensorSpec]],
    batch: int,
    threads: int,
    stack: ExitStack,
) -> Racer | str:
    """Return the ``If`` graph on an engine in f32, or what the engine says of it."""
    bundle = course.bundles["f32"]
    file, outputs = graph
    machine = Machine.of(bundle, device, threads)
    try:
        model = WholeModel(machine, file, bundle.manifest.inputs, outputs, batch=batch, name="if")
        stack.callback(model.close)
        # An engine may accept the graph and fail in one of its branches.
        for start in range(0, min(len(course.images), TRIED * batch), batch):
            model(course.images[start : start + batch])
    except EdgeExitError as error:
        return " ".join(str(error).split())
    return Racer(f"if.{device}", model, _of_graph)


def _of_result(result: Any) -> Answers:
    return Answers(result.labels, result.exits.astype(np.int64))


def _of_graph(outputs: list[Any]) -> Answers:
    logits, taken = outputs
    return Answers(logits.argmax(axis=1), np.full(len(logits), int(taken[0])))


def _last(logits: Any, exits: int) -> Answers:
    return Answers(logits.argmax(axis=1), np.full(len(logits), exits))

"""The contenders: pre-bound chains of stages, whole graphs, and a call with nothing in it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.specs import BATCH, TensorSpec
from edgeexit.runtime.engines import EngineSet
from edgeexit.runtime.lane import Lane
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.plan import Plan
from edgeexit.runtime.whole import WholeModel
from tests.benchmarks.export import TINY_WIDTH, write_call

Call = Callable[[], None]


def chain(lane: Lane) -> Call:
    """Return a call that runs all stages of a lane in order, and nothing else."""
    runs = tuple(lane.runs)

    def call() -> None:
        for run in runs:
            run()

    return call


@contextmanager
def open_chain(bundle: Bundle, machine: Machine, inputs: npt.NDArray[Any]) -> Iterator[Call]:
    """Open a bundle's stages as the runtime does; at batch 1 static, else dynamic.

    Args:
        bundle: The bundle.
        machine: What to open it with.
        inputs: The samples to run on, as many as a bucket holds.
    """
    plan = Plan.of(bundle.manifest)
    files = [bundle.folder / stage.file for stage in plan.stages]
    engines = EngineSet(machine, plan, files, len(inputs))
    try:
        lane = engines.lane(len(inputs), ())
        lane.write([inputs])
        yield chain(lane)
    finally:
        engines.close()


@contextmanager
def open_whole(
    bundle: Bundle,
    machine: Machine,
    inputs: npt.NDArray[Any],
    which: Literal["static", "whole"],
) -> Iterator[Call]:
    """Open a whole graph in the shape mode of :func:`open_chain`; return its pre-bound call."""
    fixed = 1 if len(inputs) == 1 else None
    model = WholeModel.of_bundle(bundle, machine, which, batch=fixed)
    try:
        yield model.prepare(inputs).run
    finally:
        model.close()


@contextmanager
def open_bare_call(machine: Machine) -> Iterator[Call]:
    """Open a graph of one ReLU on 16 numbers: its time is that of a bare engine call."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.onnx"
        write_call(path)
        reads = TensorSpec("x", "float32", (BATCH, TINY_WIDTH))
        writes = TensorSpec("y", "float32", (BATCH, TINY_WIDTH))
        engine = machine.open(path, [reads], [writes], {BATCH: 1})
        try:
            yield engine.runner({BATCH: 1}).run
        finally:
            engine.close()

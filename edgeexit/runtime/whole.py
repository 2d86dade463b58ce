"""A whole graph on the same engine: what stages are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.specs import BATCH, TensorSpec
from edgeexit.runtime.inputs import InputCheck, Inputs
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.plan import input_symbols
from edgeexit.targets.base import Engine, StageRunner

_MAX_RUNNERS = 16


class WholeModel:
    """A graph run in one piece. One thread at a time.

    Args:
        machine: What to open it with.
        model: An ONNX file whose bytes are verified.
        inputs: Its inputs.
        outputs: The outputs wanted.
        batch: A batch size fixed at compile time, or None to take any.
        name: What reports call it.

    Raises:
        TargetError: The engine refuses the graph.
    """

    def __init__(
        self,
        machine: Machine,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        batch: int | None = None,
        name: str = "whole",
    ) -> None:
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._symbols = input_symbols(self.inputs)
        self._check = InputCheck(self.inputs, self._symbols, check_finite=False, on_invalid="error")
        self._runners: dict[tuple[int, tuple[int, ...]], StageRunner] = {}
        fixed = {} if batch is None else {BATCH: batch}
        self._engine: Engine = machine.open(model, self.inputs, self.outputs, fixed)

    @classmethod
    def of_bundle(
        cls,
        bundle: Bundle,
        machine: Machine | None = None,
        which: Literal["static", "whole"] = "static",
        *,
        batch: int | None = None,
    ) -> WholeModel:
        """Open a bundle's ``static`` model (no early exits) or its ``whole`` one (all exits).

        Args:
            bundle: The bundle.
            machine: What to open it with; the bundle's own device if None.
            which: Which of the two.
            batch: A batch size fixed at compile time, or None to take any.
        """
        manifest = bundle.manifest
        stages = manifest.stages[-1:] if which == "static" else manifest.stages
        outputs = {spec.name: spec for stage in stages for spec in stage.exit.outputs}
        return cls(
            machine or Machine.of(bundle),
            bundle.file(getattr(manifest, which)),
            manifest.inputs,
            tuple(outputs.values()),
            batch=batch,
            name=which,
        )

    def __call__(self, inputs: Inputs) -> list[npt.NDArray[Any]]:
        """Return copies of the outputs, in order, for as many samples as are given.

        Raises:
            InputError: The inputs do not fit; they are not searched for NaN or infinity.
        """
        runner = self.prepare(inputs)
        runner.run()
        return [runner.buffer(spec.name).host().copy() for spec in self.outputs]

    def prepare(self, inputs: Inputs) -> StageRunner:
        """Write the inputs and return the runner that holds them, whose ``run()`` is left to do."""
        checked = self._check(inputs)
        key = (checked.rows, checked.symbols)
        runner = self._runners.get(key)
        if runner is None:
            dims = {BATCH: checked.rows, **dict(zip(self._symbols, checked.symbols, strict=True))}
            runner = self._engine.runner(dims)
            while len(self._runners) >= _MAX_RUNNERS:
                del self._runners[next(iter(self._runners))]
            self._runners[key] = runner
        for spec, array in zip(self.inputs, checked.arrays, strict=True):
            assert isinstance(array, np.ndarray)  # the check was asked for no others
            runner.buffer(spec.name).write(array)
        return runner

    def close(self) -> None:
        """Free the engine."""
        self._runners.clear()
        self._engine.close()

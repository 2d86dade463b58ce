"""Stages run one after another, each reading what the earlier ones wrote, in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeexit.targets.base import Engine, EngineOptions, StageRunner, Target
from tests.conformance.graphs import Graph

Arrays = Mapping[str, np.ndarray[Any, Any]]


def open_all(target: Target, graphs: Sequence[Graph], options: EngineOptions) -> list[Engine]:
    """Open each graph as an engine."""
    return [target.open(graph.file, graph.inputs, graph.outputs, options) for graph in graphs]


class Chain:
    """Runners of all stages at one size, each bound to the outputs of the earlier ones."""

    def __init__(self, engines: Sequence[Engine], dims: Mapping[str, int]) -> None:
        self.runners: list[StageRunner] = [engine.runner(dims) for engine in engines]
        self.outputs = {name: run for run in self.runners for name in run.outputs}
        for runner in self.runners:
            for name in runner.inputs:
                if name in self.outputs:
                    runner.bind(name, self.outputs[name].buffer(name))

    def __call__(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Return copies of all outputs for the given inputs."""
        for runner in self.runners:
            for name in runner.inputs.keys() & arrays.keys():
                runner.buffer(name).write(arrays[name])
            runner.run()
        return {name: run.buffer(name).host().copy() for name, run in self.outputs.items()}

"""The results of finished cells, and means over seeds that say how many there are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.methods.cells import Cell

Result = dict[str, Any]
Figure = Callable[[Result], float]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: The mean.
        error: Its standard error; NaN for a single seed.
        seeds: How many seeds it is of.
    """

    mean: float
    error: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Return the mean of one value or more."""
        spread = np.std(values, ddof=1) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), float(spread / math.sqrt(len(values))), len(values))

    def __str__(self) -> str:
        error = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        return f"{self.mean:+.2f}{error}"


@dataclass(frozen=True)
class Results:
    """The cells of one size, as far as they are done.

    Attributes:
        cells: The whole grid.
        found: Results by name of the cell.
        stale: Names of cells whose result is of another recipe; they are left out.
    """

    cells: tuple[Cell, ...]
    found: dict[str, Result]
    stale: tuple[str, ...]

    @classmethod
    def read(cls, cells: Iterable[Cell], folder: Path) -> Results:
        """Read what is there."""
        grid = tuple(cells)
        present = [cell for cell in grid if cell.file(folder).exists()]
        fresh = {c.name: json.loads(c.file(folder).read_text()) for c in present if c.done(folder)}
        return cls(grid, fresh, tuple(c.name for c in present if c.name not in fresh))

    def seeds(self, task: str) -> list[int]:
        """Return the seeds that the grid asks for."""
        return sorted({cell.seed for cell in self.cells if cell.task == task})

    def methods(self, task: str) -> set[str]:
        """Return the methods that the grid asks for."""
        return {cell.method for cell in self.cells if cell.task == task}

    def values(self, task: str, method: str, figure: Figure) -> list[float]:
        """Return a figure for each seed that is done."""
        names = [Cell(task, method, seed).name for seed in self.seeds(task)]
        return [figure(self.found[name]) for name in names if name in self.found]

    def estimate(self, task: str, method: str, figure: Figure) -> Estimate | None:
        """Return the mean over all seeds asked for, or None where one is missing."""
        values = self.values(task, method, figure)
        return Estimate.of(values) if len(values) == len(self.seeds(task)) > 0 else None

    def difference(
        self, task: str, pair: tuple[str, str], figures: tuple[Figure, Figure]
    ) -> Estimate | None:
        """Return the mean over seeds of one method's figure less another's, paired by seed."""
        first = self.values(task, pair[0], figures[0])
        second = self.values(task, pair[1], figures[1])
        if not len(first) == len(second) == len(self.seeds(task)) > 0:
            return None
        return Estimate.of([a - b for a, b in zip(first, second, strict=True)])

    def count(self, task: str) -> tuple[int, int]:
        """Return how many cells of a task are done, and of how many."""
        names = [cell.name for cell in self.cells if cell.task == task]
        return sum(name in self.found for name in names), len(names)


def at(part: str, index: int) -> Figure:
    """Return the figure: accuracy in per cent at an operating point.

    Args:
        part: ``points`` (the budgets) or ``equal_flops`` (the costs of the cut backbones).
        index: Which of them.
    """
    return lambda result: 100 * float(result[part][index]["accuracy"])


def cost_at(part: str, index: int) -> Figure:
    """Return the figure: realised cost at an operating point."""
    return lambda result: float(result[part][index]["cost"])


def reached_at(part: str, index: int) -> Figure:
    """Return the figure: 1 where the model can run at that cost, else 0."""
    return lambda result: float(result[part][index]["reached"])


def last_accuracy(result: Result) -> float:
    """Return the accuracy of the last exit in per cent."""
    return 100 * float(result["accuracy"][-1])


def accuracy_of(index: int) -> Figure:
    """Return the figure: accuracy of an exit alone in per cent."""
    return lambda result: 100 * float(result["accuracy"][index])


def training_figure(key: str) -> Figure:
    """Return the figure: seconds, parameters or another cost of the training."""
    return lambda result: float(result["training"][key])

"""Runs cells in processes of their own, which tell their own peak memory and die alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.folders import ROOT
from tests.benchmarks.methods.cells import Cell

Tell = Callable[[str], None]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LAST_LINES = 12


@dataclass
class Pool:
    """A number of workers and what they have done.

    Attributes:
        workers: Cells that run at once, one thread each.
        folder: Where results are written.
        options: Options handed on to the process of a cell.
        tell: Told how far it is.
    """

    workers: int
    folder: Path
    options: Sequence[str]
    tell: Tell
    _seconds: dict[str, list[float]] = field(default_factory=dict)
    _left: list[Cell] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, cells: Sequence[Cell]) -> list[Cell]:
        """Run cells; return those that failed."""
        self._left = list(cells)
        with ThreadPoolExecutor(self.workers) as executor:
            done = list(executor.map(self._one, cells))
        return [cell for cell, fine in zip(cells, done, strict=True) if not fine]

    def _one(self, cell: Cell) -> bool:
        self.tell(f"{cell.name} starts")
        start = time.monotonic()
        command = [sys.executable, "-m", "tests.benchmarks.methods", "--cell"]
        command += [cell.task, cell.method, str(cell.seed), cell.size]
        command += ["--output", str(self.folder), *self.options]
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - start
        with self._lock:
            self._left.remove(cell)
            if done.returncode == 0:
                self._seconds.setdefault(cell.task, []).append(seconds)
        if done.returncode:
            last = "\n    ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            self.tell(f"{cell.name} FAILED after {seconds:.0f} s:\n    {last}")
            return False
        self.tell(f"{cell.name}: {done.stdout.strip()} ({seconds:.0f} s); {self._eta()}")
        return True

    def _eta(self) -> str:
        """Return how long the rest will take, from what cells of the same task took."""
        with self._lock:
            means = {task: sum(times) / len(times) for task, times in self._seconds.items()}
            left = [cell.task for cell in self._left]
        overall = sum(means.values()) / len(means)
        seconds = sum(means.get(task, overall) for task in left) / self.workers
        return f"{len(left)} left, about {seconds / 60:.0f} minutes"

"""The record of a training: CSV files, TensorBoard, or both. A resumed run repeats no row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from edgeexit.bundle.atomic import write_atomic, writing
from edgeexit.dmpo.training.state import EpochRecord
from edgeexit.errors import InputError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

STEPS, EPOCHS, TENSORBOARD = "steps.csv", "epochs.csv", "tensorboard"
"""Names below the folder of the log."""

KINDS = ("csv", "tensorboard")


@dataclass(frozen=True)
class StepRecord:
    """What an optimizer step came to.

    Attributes:
        epoch: The epoch, from 1.
        step: The step, from 1.
        rates: Learning rate of each part: ``backbone``, ``exits``.
        loss: The objective.
        losses: Mean cross-entropy of each exit, in nats.
        weights: gamma of each exit.
    """

    epoch: int
    step: int
    rates: Mapping[str, float]
    loss: float
    losses: tuple[float, ...]
    weights: tuple[float, ...]


class TrainingLog:
    """Writes a row a step and a row an epoch. Use it as a context manager.

    Args:
        folder: Where; it is made.
        kinds: ``csv``, ``tensorboard`` or both; empty for no log.
        exits: Number of exits.
        step: Optimizer steps already done: rows beyond it, from a run that was killed, are removed.

    Raises:
        InputError: A kind is unknown, or TensorBoard is asked for and not installed.
        ResourceError: The disk is full or failing.
    """

    def __init__(self, folder: Path, kinds: Sequence[str], exits: int, step: int) -> None:
        check_kinds(kinds)
        self._files: dict[str, TextIO] = {}
        self._board: SummaryWriter | None = None
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if "csv" in kinds:
                for name, columns in _columns(exits).items():
                    self._files[name] = _opened(folder / name, columns, step)
            if "tensorboard" in kinds:
                self._board = _summary_writer()(str(folder / TENSORBOARD), purge_step=step + 1)

    def __enter__(self) -> TrainingLog:
        """Return the log."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        if self._board is not None:
            self._board.close()

    def step(self, record: StepRecord) -> None:
        """Write what a step came to."""
        rates = [record.rates.get(part, 0.0) for part in _PARTS]
        numbers = [*rates, record.loss, *record.losses, *record.weights]
        self._row(STEPS, [record.epoch, record.step, *numbers])
        scalars = {f"rate/{part}": rate for part, rate in zip(_PARTS, rates, strict=True)}
        scalars |= {"loss/objective": record.loss}
        scalars |= _numbered("loss/exit", record.losses) | _numbered("weight/exit", record.weights)
        self._scalars(scalars, record.step)

    def epoch(self, record: EpochRecord) -> None:
        """Write what an epoch came to."""
        numbers = [record.loss, *record.train_losses, *record.accuracy, *record.losses]
        self._row(EPOCHS, [record.epoch, record.step, record.seconds, *numbers])
        scalars = _numbered("validation/accuracy-exit", record.accuracy)
        self._scalars(scalars | _numbered("validation/loss-exit", record.losses), record.step)

    def flush(self) -> None:
        """Hand everything to the system: a checkpoint follows."""
        for file in self._files.values():
            file.flush()
        if self._board is not None:
            self._board.flush()

    def _row(self, name: str, cells: Iterable[float]) -> None:
        if name in self._files:
            line = ",".join(f"{c:d}" if isinstance(c, int) else f"{c:.7g}" for c in cells)
            self._files[name].write(f"{line}\n")

    def _scalars(self, scalars: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            for tag, value in scalars.items():
                self._board.add_scalar(tag, value, step)


_PARTS = ("backbone", "exits")


def check_kinds(kinds: Sequence[str]) -> None:
    """Check ``[training] log``.

    Raises:
        InputError: A kind is unknown, or TensorBoard is asked for and not installed.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(
                f"training.log names {kind!r}; a log is {' or '.join(KINDS)}.",
                hint='write log = ["csv"].',
                code="tune.log",
            )
    if "tensorboard" in kinds:
        _summary_writer()


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            f"training.log names 'tensorboard', which is not installed ({error}).",
            hint='install it with: pip install tensorboard; or write log = ["csv"].',
            code="tune.log",
        ) from error
    return SummaryWriter


def _columns(exits: int) -> dict[str, list[str]]:
    numbers = range(1, exits + 1)
    losses = [f"loss_{k}" for k in numbers]
    steps = ["epoch", "step", "lr", "head_lr", "loss", *losses, *(f"gamma_{k}" for k in numbers)]
    validation = [f"validation_{what}_{k}" for what in ("accuracy", "loss") for k in numbers]
    return {STEPS: steps, EPOCHS: ["epoch", "step", "seconds", "loss", *losses, *validation]}


def _numbered(tag: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{tag}-{number}": value for number, value in enumerate(values, start=1)}


def _opened(path: Path, columns: Sequence[str], step: int) -> TextIO:
    """Open a CSV file to append to, without the rows beyond ``step`` and without a torn line."""
    before = path.read_text("utf-8", "replace") if path.is_file() else ""
    rows = csv.reader(io.StringIO(before))
    kept = [row for row in rows if len(row) == len(columns) and _step_of(row) in range(1, step + 1)]
    lines = [",".join(row) for row in (columns, *kept)]
    write_atomic(path, ("\n".join(lines) + "\n").encode())
    return path.open("a", encoding="utf-8", newline="\n")


def _step_of(row: Sequence[str]) -> int:
    return int(row[1]) if row[1].isdecimal() else 0

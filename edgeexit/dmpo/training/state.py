"""How far a training has come."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to.

    Attributes:
        epoch: Its number, from 1.
        step: Optimizer steps done by its end.
        loss: Mean of the objective over its samples.
        train_losses: Mean cross-entropy of each exit on the training data, in nats, while the
            weights still moved.
        accuracy: Share of the validation set that each exit gets right; empty without one.
        losses: Mean cross-entropy of each exit on the validation set, in nats; empty likewise.
        seconds: Time it took, validation included; of a resumed epoch the last part.
    """

    epoch: int
    step: int
    loss: float
    train_losses: tuple[float, ...]
    accuracy: tuple[float, ...]
    losses: tuple[float, ...]
    seconds: float

    @property
    def score(self) -> tuple[float, float]:
        """What early stopping watches: mean accuracy over exits; ties go to the lower loss."""
        if not self.accuracy:
            return (0.0, float(self.epoch))
        count = len(self.accuracy)
        return (sum(self.accuracy) / count, -sum(self.losses) / count)


@dataclass
class TrainingState:
    """Where a training stands; the trainer owns and changes it.

    Attributes:
        epoch: Epochs that are done, validation included.
        batch: Batches of the present epoch that are done, on each process.
        step: Optimizer steps that are done.
        samples: Samples of the present epoch that are done.
        sums: Over those samples: the objective, then the cross-entropy of each exit.
        history: The epochs that are done.
        best_epoch: The epoch (from 1) whose weights are kept; 0 before the first.
        seconds: Time spent in runs that ended before this one.
        peak_bytes: Largest resident memory of a process so far, in bytes.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    samples: int = 0
    sums: tuple[float, ...] = ()
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingState:
        """Return the state that :meth:`to_json` wrote.

        Raises:
            TypeError: A field is missing or unknown.
        """
        history = tuple(EpochRecord(**_tuples(record)) for record in values["history"])
        return cls(**{**_tuples(values), "history": history})


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

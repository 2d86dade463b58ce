"""What an objective is: the logits of all exits in, one loss out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class LossParts:
    """The loss of one batch and what it is made of.

    Attributes:
        total: Scalar to back-propagate.
        per_exit: ``(K,)`` mean cross-entropy of every exit, detached.
        weights: ``(K,)`` weight of every exit at this point of the training.
    """

    total: Tensor
    per_exit: Tensor
    weights: tuple[float, ...]


class Objective(ABC):
    """A loss over all exits.

    Attributes:
        separate: No gradient may flow from one segment into the one before it.
    """

    separate: bool = False

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def cross_entropies(self, logits: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return ``(K, B)`` cross-entropies in nats of logits ``(B, C) float32`` an exit."""
        return torch.stack(
            [
                F.cross_entropy(
                    each, labels, reduction="none", label_smoothing=self.label_smoothing
                )
                for each in logits
            ]
        )

    @abstractmethod
    def loss(self, logits: Sequence[Tensor], labels: Tensor, progress: float) -> LossParts:
        """Return the loss of one batch.

        Args:
            logits: ``(B, C) float32`` an exit, first to last.
            labels: ``(B,) int64``.
            progress: Share of the training that is done, 0 at the first step and 1 at the last.
        """

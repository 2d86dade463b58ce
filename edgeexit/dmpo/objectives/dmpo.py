"""DMPO's decoupled two-phase objective."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgeexit.dmpo.objectives.base import LossParts, Objective
from edgeexit.dmpo.objectives.schedules import Schedule


class DecoupledObjective(Objective):
    """L(e) = sum over exits k of gamma_k(e) * mean_i(a_ki * CE_ki) (arXiv 2511.03245).

    a_1i = 1 and a_ki = sigmoid(CE_{k-1,i}) for k > 1: an exit attends to what the one before it
    gets wrong. The gradient flows through a, as in the paper's public code.

    Args:
        schedule: How gamma moves.
        cross_exit: Use a; without it a_ki = 1 everywhere.
        label_smoothing: Of every cross-entropy.
    """

    def __init__(
        self, schedule: Schedule, *, cross_exit: bool = True, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(label_smoothing)
        self.schedule = schedule
        self.cross_exit = cross_exit

    def loss(self, logits: Sequence[Tensor], labels: Tensor, progress: float) -> LossParts:
        """Return the loss of one batch; see the base class."""
        losses = self.cross_entropies(logits, labels)
        weights = self.schedule.weights(progress)
        scaled = losses
        if self.cross_exit:
            attention = torch.cat([torch.ones_like(losses[:1]), torch.sigmoid(losses[:-1])])
            scaled = attention * losses
        total = (scaled.mean(dim=1) * losses.new_tensor(weights)).sum()
        return LossParts(total, losses.mean(dim=1).detach(), weights)

"""Self-distillation: early exits also learn from the last one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.dmpo.objectives.base import LossParts, Objective


class DistillationObjective(Objective):
    """L = CE_K + sum over k < K of (1 - w) CE_k + w T^2 KL(softmax(L_K / T) || softmax(L_k / T)).

    The last exit is a teacher only: no gradient reaches it through the divergence. The factor T^2
    keeps the two terms' gradients alike (Hinton et al., "Distilling the Knowledge in a Neural
    Network", section 2.1).

    Args:
        temperature: T.
        weight: w, 0 to 1.
        label_smoothing: Of every cross-entropy.
    """

    def __init__(self, temperature: float, weight: float, *, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing)
        self.temperature = temperature
        self.weight = weight

    def loss(self, logits: Sequence[Tensor], labels: Tensor, progress: float) -> LossParts:
        """Return the loss of one batch; see the base class."""
        del progress
        per_exit = self.cross_entropies(logits, labels).mean(dim=1)
        early = torch.stack([self._divergence(each, logits[-1]) for each in logits[:-1]])
        mixed = (1 - self.weight) * per_exit[:-1] + self.weight * early
        weights = (*(1.0 - self.weight for _ in early), 1.0)
        return LossParts(per_exit[-1] + mixed.sum(), per_exit.detach(), weights)

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        scale = 1.0 / self.temperature
        divergence = F.kl_div(
            F.log_softmax(student * scale, dim=-1),
            F.log_softmax(teacher.detach() * scale, dim=-1),
            log_target=True,
            reduction="batchmean",
        )
        return divergence * self.temperature**2

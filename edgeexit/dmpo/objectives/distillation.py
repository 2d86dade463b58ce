"""Self-distillation: early exits also learn from the last one."""

from __future__ import annotations

from collections.abc import Sequence

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
        weights = (*(1.0 - self.weight for _ in logits[1:]), 1.0)
        total = (per_exit * per_exit.new_tensor(weights)).sum()
        for each in logits[:-1]:
            total = total + self.weight * self._divergence(each, logits[-1])
        return LossParts(total, per_exit.detach(), weights)

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        scale = 1.0 / self.temperature
        divergence = F.kl_div(
            F.log_softmax(student * scale, dim=-1),
            F.log_softmax(teacher.detach() * scale, dim=-1),
            log_target=True,
            reduction="batchmean",
        )
        return divergence * self.temperature**2

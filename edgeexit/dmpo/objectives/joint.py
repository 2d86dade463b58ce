"""The plain sum of all exits' cross-entropies, and the same with separate segments (SWEET)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from edgeexit.dmpo.objectives.base import LossParts, Objective


class JointObjective(Objective):
    """L = sum over exits k of mean CE_k.

    Args:
        separate: Let exit k update only the segment before it. That is SWEET (Rotem et al.,
            ACL 2023, arXiv 2306.02307): the same sum, with each segment's input detached.
        label_smoothing: Of every cross-entropy.
    """

    def __init__(self, *, separate: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing)
        self.separate = separate

    def loss(self, logits: Sequence[Tensor], labels: Tensor, progress: float) -> LossParts:
        """Return the loss of one batch; see the base class."""
        del progress
        per_exit = self.cross_entropies(logits, labels).mean(dim=1)
        return LossParts(per_exit.sum(), per_exit.detach(), (1.0,) * len(logits))

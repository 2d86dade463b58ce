"""One exit: its norm, its bypass, its predictor and its scale beta."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.base import Predictor


class Exit(nn.Module):
    """The predictor's branch: o_k = beta_k * predictor(bypass(LN_k(X_k))).

    Args:
        predictor: Gives the logits.
        norm: Normalises the trunk's tokens, or None.
        bypass: The bottleneck between norm and predictor, or None.
        beta: Scale the logits by a learned scalar that starts at 1.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        norm: nn.Module | None = None,
        bypass: nn.Module | None = None,
        beta: bool = True,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.bypass = bypass
        self.predictor = predictor
        self.beta = nn.Parameter(torch.ones(())) if beta else None

    def forward(self, features: Features) -> Tensor:
        """Return ``(B, classes)`` logits of the trunk's features, which are left as they are."""
        tokens = features.tokens
        if self.norm is not None:
            tokens = self.norm(tokens)
        if self.bypass is not None:
            tokens = self.bypass(tokens)
        logits: Tensor = self.predictor(dataclasses.replace(features, tokens=tokens))
        return logits if self.beta is None else logits * self.beta

    def fold_beta(self) -> None:
        """Take beta into the predictor's weights; the logits stay what they are."""
        if self.beta is not None:
            self.predictor.fold_scale(float(self.beta.detach()))
            self.beta = None

"""The plain predictor: one linear layer on the pooled features."""

from __future__ import annotations

from torch import Tensor, nn

from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.base import Predictor, pooled, scale_linear


class LinearPredictor(Predictor):
    """One linear layer on the class token, or on the mean of all tokens.

    Args:
        width: Width d of the features.
        classes: Number of classes.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, classes)

    def forward(self, features: Features) -> Tensor:
        """Return ``(B, classes)`` logits."""
        logits: Tensor = self.head(pooled(features))
        return logits

    def fold_scale(self, scale: float) -> None:
        """Make the logits ``scale`` times what they are."""
        scale_linear(self.head, scale)

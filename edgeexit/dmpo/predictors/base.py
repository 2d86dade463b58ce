"""What a predictor is: features of a block in, logits out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from edgeexit.dmpo.families.base import Features


class Predictor(nn.Module, ABC):
    """The classifier of one exit, behind its norm and its bypass."""

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Return ``(B, classes)`` logits."""

    @abstractmethod
    def fold_scale(self, scale: float) -> None:
        """Make the logits ``scale`` times what they are, in the weights of the last layers."""


def scale_linear(layer: nn.Linear, scale: float) -> None:
    """Multiply what a linear layer puts out by ``scale``, in place."""
    with torch.no_grad():
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.mul_(scale)


def pooled(features: Features) -> Tensor:
    """Return one vector a sample, ``(B, d)``: the first token, or the mean of those that count."""
    if features.pooling == "first":
        return features.tokens[:, 0]
    return mean_token(features)


def mean_token(features: Features) -> Tensor:
    """Return the mean of the tokens after the prefix that are no padding, ``(B, d)``."""
    tokens, mask = body(features)
    if mask is None:
        return tokens.mean(dim=1)
    weights = mask[:, :, None]
    mean: Tensor = (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    return mean


def body(features: Features) -> tuple[Tensor, Tensor | None]:
    """Return the tokens after the prefix and their mask."""
    start = features.prefix
    mask = features.mask
    return features.tokens[:, start:], None if mask is None else mask[:, start:]

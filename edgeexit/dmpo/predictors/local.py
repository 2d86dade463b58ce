"""The local predictor: what lies side by side, by a depthwise convolution (LGViT's early heads)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.base import Predictor, body, pooled, scale_linear

SHARE = 4
"""The bottleneck is the width over this, so that a head on 56 x 56 positions of a CNN stays at
about 1 % of its FLOPs."""

LEAST_WIDTH = 8


class LocalPredictor(Predictor):
    """A bottleneck, a depthwise convolution over neighbours, its mean beside the pooled token.

    ``logits = W (p + E mean(GELU(LN(DW(R x)))))`` with ``p`` the class token or the mean, ``R`` a
    1 x 1 convolution to the bottleneck, ``DW`` a depthwise convolution over 3 x 3 positions (over
    3 tokens of a text) and ``E`` the 1 x 1 convolution back, which commutes with the mean and is
    taken after it. After LGViT (Xu et al. 2023, section 3.2); a layer norm stands in for its batch
    norm, whose statistics the padding of texts would move.

    Args:
        width: Width d of the tokens.
        classes: Number of classes.
        image: Whether the tokens are a picture's; else they are a text's.
    """

    def __init__(self, width: int, classes: int, *, image: bool) -> None:
        super().__init__()
        inner = max(LEAST_WIDTH, width // SHARE)
        convolution = nn.Conv2d if image else nn.Conv1d
        self.reduce = nn.Linear(width, inner)
        self.depthwise = convolution(inner, inner, 3, padding=1, groups=inner)
        self.norm = nn.LayerNorm(inner)
        self.expand = nn.Linear(inner, width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, features: Features) -> Tensor:
        """Return ``(B, classes)`` logits."""
        tokens, mask = body(features)
        reduced = self.reduce(tokens)
        if mask is not None:  # padding is as empty as what lies beyond the border
            reduced = reduced * mask[:, :, None]
        maps = reduced.transpose(1, 2)
        if features.grid is not None:
            maps = maps.reshape(-1, maps.shape[1], *features.grid)
        mixed = self.depthwise(maps).flatten(2).transpose(1, 2)
        mixed = F.gelu(self.norm(mixed))
        mean = pooled(Features(mixed, mask, 0, features.grid, "mean"))
        logits: Tensor = self.classifier(pooled(features) + self.expand(mean))
        return logits

    def fold_scale(self, scale: float) -> None:
        """Make the logits ``scale`` times what they are."""
        scale_linear(self.classifier, scale)

"""DMPO's high-order predictor: class logits from how features vary together (moment probing).

After Moment Probing (Gao et al., ICCV 2023) and DMPO (arXiv 2511.03245): beside the pooled vector
it reads cross-covariances between projections of the tokens, which a linear layer on their mean
cannot see.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.base import Predictor, body, pooled, scale_linear
from edgeexit.errors import InputError

NORM_FLOOR = 1e-3
LARGEST_SIZE, USUAL_SIZE, SMALLEST_SIZE, MULTIPLE = 128, 32, 16, 8


def moment_size(width: int, tokens: int) -> int:
    """Return the width of a moment head for features of ``width`` over ``tokens`` tokens.

    Half of the features' width, 32 at least and 128 at most. A covariance over T tokens has at
    most rank T, so a head wider than that has nothing to add.
    """
    size = min(LARGEST_SIZE, max(USUAL_SIZE, width // 2), tokens) // MULTIPLE * MULTIPLE
    return max(SMALLEST_SIZE, size)


class SecondOrderPredictor(Predictor):
    """Averages a linear classifier of the pooled vector and one of cross-covariances.

    With moment heads H_1 .. H_h, each ``(B, T, m)``, every neighbouring pair gives
    C = H_i^T (H_j - mean) / T, ``(B, m, m)``, whose rows are scaled to length 1. The logits are
    (W1 pooled + W2 vec(C)) / 2.

    Args:
        width: Width d of the features.
        classes: Number of classes.
        tokens: Number T of tokens without class tokens.
        size: Width m of a moment head; None sizes it by :func:`moment_size`.
        heads: Number h of moment heads, 2 or more.
        reduce: ``conv`` puts two 3 x 3 convolutions of stride 2 before W2, as the paper's code
            does; ``none`` gives W2 every entry.

    Raises:
        InputError: There are fewer than 2 heads, or ``conv`` has too small a covariance.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        tokens: int,
        size: int | None = None,
        heads: int = 2,
        reduce: str = "none",
    ) -> None:
        super().__init__()
        self.size = size or moment_size(width, tokens)
        self.heads = heads
        self.share = 0.5
        if heads < 2:
            raise InputError(
                f"second-order.heads is {heads}; a cross-covariance needs 2 or more.",
                hint="set [second-order] heads = 2.",
                code="tune.second-order-heads",
            )
        self.moments = nn.Linear(width, heads * self.size, bias=False)
        self.moment_norm = nn.LayerNorm(self.size)
        self.reduce = _reduction(heads - 1, self.size) if reduce == "conv" else None
        side = self.size if self.reduce is None else _reduced(_reduced(self.size))
        self.first_order = nn.Linear(width, classes)
        self.second_order = nn.Linear((heads - 1) * side * side, classes)

    def covariances(self, features: Features) -> Tensor:
        """Return the row-normalised cross-covariances, ``(B, heads - 1, m, m)``."""
        tokens, mask = body(features)
        shape = (-1, tokens.shape[1], self.heads, self.size)
        moments = self.moment_norm(self.moments(tokens).reshape(shape)).transpose(1, 2)
        left, right = moments[:, :-1], moments[:, 1:]
        # Centring and masking one side is enough: the other's mean meets a sum of zero.
        if mask is None:
            right = right - right.mean(dim=2, keepdim=True)
            scale: Tensor | float = 1.0 / tokens.shape[1]
        else:
            weights = mask[:, None, :, None]
            scale = 1.0 / weights.sum(dim=2, keepdim=True).clamp(min=1.0)
            right = (right - (right * weights).sum(dim=2, keepdim=True) * scale) * weights
        cross = (left.transpose(2, 3) @ right) * scale
        # A norm operator rather than cross * cross: OpenVINO 2026.4 applies the int8 scale of a
        # product of two activations twice where that product is both operands of a Mul or Add.
        rows: Tensor = cross / (torch.linalg.vector_norm(cross, dim=-1, keepdim=True) + NORM_FLOOR)
        return rows

    def forward(self, features: Features) -> Tensor:
        """Return ``(B, classes)`` logits."""
        crossed = self.covariances(features)
        if self.reduce is not None:
            crossed = self.reduce(crossed)
        logits: Tensor = self.first_order(pooled(features)) + self.second_order(crossed.flatten(1))
        return logits if self.share == 1.0 else logits * self.share

    def fold_scale(self, scale: float) -> None:
        """Make the logits ``scale`` times what they are; the average's 1/2 is folded too."""
        scale_linear(self.first_order, scale * self.share)
        scale_linear(self.second_order, scale * self.share)
        self.share = 1.0


def _reduced(size: int) -> int:
    """Return the side that a 3 x 3 convolution of stride 2 without padding leaves."""
    return (size - 3) // 2 + 1


def _reduction(pairs: int, size: int) -> nn.Module:
    if _reduced(_reduced(size)) < 1:
        raise InputError(
            f"second-order.size is {size}; two convolutions of stride 2 need 7 or more.",
            hint="set [second-order] size = 16, or reduce = 'none'.",
            code="tune.second-order-size",
        )
    return nn.Sequential(
        nn.Conv2d(pairs, pairs, kernel_size=3, stride=2, bias=False),
        nn.GELU(),
        nn.Conv2d(pairs, pairs, kernel_size=3, stride=2, bias=False),
    )

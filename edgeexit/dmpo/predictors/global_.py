"""The global predictor: one query over a subsampled picture or text (LGViT's late heads)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.base import Predictor, body, pooled, scale_linear

CELLS_A_SIDE = 7
"""Cells a side of a picture; 14 x 14 patches are averaged two by two, as in LGViT."""

CELLS_A_TEXT = 32
"""Cells of a text."""

HEAD_WIDTH = 64
LEAST_WIDTH = 8

_MASKED = -1e4
"""Added to the score of a cell that holds nothing but padding; still a number in float16."""


class GlobalPredictor(Predictor):
    """Attention of the class token, or of the mean, over cells of averaged tokens.

    ``logits = W (p + O softmax(q K^T / sqrt(h)) V)`` with ``p`` the class token or the mean,
    ``q = Q LN(p)`` and ``K``, ``V`` of the cells ``LN(average of their tokens)``, half as wide as
    the tokens, in heads of about 64. After LGViT (Xu et al. 2023, section 3.2), whose queries are
    all tokens; the classifier reads the answer to one only.

    Args:
        width: Width d of the tokens.
        classes: Number of classes.
        tokens: How many tokens a text is padded to: sizes its cells, which shorter texts share.
        image: Whether the tokens are a picture's, whose grid sizes the cells.
    """

    def __init__(self, width: int, classes: int, *, tokens: int, image: bool) -> None:
        super().__init__()
        inner = max(LEAST_WIDTH, width // 2)
        self.heads = _heads(inner)
        self.stride = None if image else math.ceil(tokens / CELLS_A_TEXT)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, features: Features) -> Tensor:
        """Return ``(B, classes)`` logits."""
        tokens, mask = body(features)
        if mask is None:
            mask = tokens.new_ones(1, tokens.shape[1])
        weights = mask[:, :, None]
        # A cell at the border, or with padding, is the mean of those tokens that count.
        share = self._cells(weights, features.grid)
        cells = self.norm(self._cells(tokens * weights, features.grid) / share.clamp(min=1e-6))
        vector = pooled(features)
        query = self._split(self.query(self.norm(vector))[:, None])
        scores = query @ self._split(self.key(cells)).transpose(2, 3)
        scores = scores / math.sqrt(query.shape[-1])
        empty = share[:, None, None, :, 0] == 0.0
        weighed = F.softmax(scores + _MASKED * empty.to(scores.dtype), dim=-1)
        answer = (weighed @ self._split(self.value(cells))).flatten(1)
        logits: Tensor = self.classifier(vector + self.out(answer))
        return logits

    def fold_scale(self, scale: float) -> None:
        """Make the logits ``scale`` times what they are."""
        scale_linear(self.classifier, scale)

    def _cells(self, values: Tensor, grid: tuple[int, int] | None) -> Tensor:
        """Return the average of each cell, ``(B, cells, c)``; zeros complete the last ones."""
        maps = values.transpose(1, 2)
        if grid is None:
            assert self.stride is not None
            return F.avg_pool1d(_pad(maps, self.stride), self.stride).transpose(1, 2)
        down, across = (math.ceil(side / CELLS_A_SIDE) for side in grid)
        maps = _pad(maps.reshape(-1, maps.shape[1], *grid), down, across)
        return F.avg_pool2d(maps, (down, across)).flatten(2).transpose(1, 2)

    def _split(self, values: Tensor) -> Tensor:
        """Return ``(B, heads, n, h)`` of ``(B, n, inner)``."""
        _, count, inner = values.shape
        return values.reshape(-1, count, self.heads, inner // self.heads).transpose(1, 2)


def _pad(maps: Tensor, *strides: int) -> Tensor:
    """Return maps whose last axes are multiples of the strides, completed with zeros."""
    sizes = maps.shape[-len(strides) :]
    missing = [-size % stride for size, stride in zip(sizes, strides, strict=True)]
    if not any(missing):
        return maps
    return F.pad(maps, [part for count in reversed(missing) for part in (0, count)])


def _heads(inner: int) -> int:
    """Return the number of heads of about 64 that divides the width."""
    most = max(1, inner // HEAD_WIDTH)
    return next(heads for heads in range(most, 0, -1) if inner % heads == 0)

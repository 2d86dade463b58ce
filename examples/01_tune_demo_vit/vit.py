"""A small vision transformer with four exits, for 28 x 28 grey images.

Two models share one trunk: :class:`MultiExitViT` with ``decoupled=True`` gives its early exits
DMPO's predictors (a bypass bottleneck and second-order statistics, arXiv 2511.03245); with
``decoupled=False`` it is the plain twin, a linear head an exit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10
WIDTH = 96
HEADS = 3
BLOCKS = 8
EXITS_AFTER = (2, 4, 6, 8)
PATCHES = 9 * 9
TOKENS = PATCHES + 1
STEM_CHANNELS = 8
BYPASS_WIDTH = 48
MOMENT_WIDTH = 24
NORM_FLOOR = 1e-3
PIXEL_MEAN, PIXEL_STD = 0.286 * 255, 0.353 * 255
"""Mean and standard deviation of a training pixel in 0..255."""


class Stem(nn.Module):
    """Turns ``(B, 1, 28, 28) uint8`` images into ``(B, PATCHES, WIDTH)`` tokens of 3 x 3 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.local = nn.Conv2d(1, STEM_CHANNELS, kernel_size=3, padding=1)
        self.patch = nn.Conv2d(STEM_CHANNELS, WIDTH, kernel_size=3, stride=3)

    def forward(self, image: Tensor) -> Tensor:
        """Return the tokens of ``image``, which may be of any real type with values in 0..255."""
        pixels = (image.float() - PIXEL_MEAN) * (1.0 / PIXEL_STD)
        grid: Tensor = self.patch(functional.gelu(self.local(pixels)))
        return grid.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention, spelled out so that it exports to MatMul and Softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the attended tokens, ``(B, TOKENS, WIDTH)``."""
        size = WIDTH // HEADS
        qkv = self.qkv(tokens).reshape(-1, TOKENS, 3, HEADS, size).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0] * size**-0.5, qkv[1], qkv[2]
        weights = (query @ key.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.out((weights @ value).transpose(1, 2).reshape(-1, TOKENS, WIDTH))
        return mixed


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens after attention and feed-forward layer, ``(B, TOKENS, WIDTH)``."""
        tokens = tokens + self.attention(self.norm1(tokens))
        hidden: Tensor = tokens + self.mlp(self.norm2(tokens))
        return hidden


class LinearExit(nn.Module):
    """A norm of its own and one linear layer on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits ``(B, CLASSES)`` of trunk tokens ``(B, TOKENS, WIDTH)``."""
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits


class DecoupledExit(nn.Module):
    """DMPO's early exit: a bypass bottleneck, then first- and second-order predictors.

    The bypass lies on the predictor's branch alone, so the trunk stays free to carry low-level
    features to the deeper blocks. The second-order predictor reads a cross-covariance of the
    patch tokens (moment probing); the class token gives the first-order one; they are averaged
    and scaled by a learned beta.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.bypass = nn.Sequential(nn.Linear(WIDTH, BYPASS_WIDTH), nn.GELU())
        self.first_order = nn.Linear(BYPASS_WIDTH, CLASSES)
        self.left = nn.Linear(BYPASS_WIDTH, MOMENT_WIDTH, bias=False)
        self.right = nn.Linear(BYPASS_WIDTH, MOMENT_WIDTH, bias=False)
        self.second_order = nn.Linear(MOMENT_WIDTH * MOMENT_WIDTH, CLASSES)
        self.beta = nn.Parameter(torch.ones(()))

    def covariance(self, patches: Tensor) -> Tensor:
        """Return the row-normalised cross-covariance of patches, ``(B, MOMENT_WIDTH**2)``."""
        left, right = self.left(patches), self.right(patches)
        # Centring one side is enough: the other one's mean is multiplied by a sum of zero.
        right = right - right.mean(dim=1, keepdim=True)
        cross = left.transpose(1, 2) @ right * (1.0 / PATCHES)
        # A norm operator rather than cross * cross: OpenVINO 2026.4 applies the int8 scale of a
        # product of two activations twice where that product is both operands of a Mul or Add.
        length = torch.linalg.vector_norm(cross, dim=-1, keepdim=True)
        rows: Tensor = cross / (length + NORM_FLOOR)
        return rows.reshape(-1, MOMENT_WIDTH * MOMENT_WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits ``(B, CLASSES)`` of trunk tokens ``(B, TOKENS, WIDTH)``."""
        branch = self.bypass(self.norm(tokens))
        first = self.first_order(branch[:, 0])
        second = self.second_order(self.covariance(branch[:, 1:]))
        logits: Tensor = (first + second) * (0.5 * self.beta)
        return logits


class MultiExitViT(nn.Module):
    """The trunk and its exits; ``forward`` returns the logits of every exit in order.

    Args:
        decoupled: Give the early exits :class:`DecoupledExit`; the last one is always linear.
    """

    def __init__(self, *, decoupled: bool) -> None:
        super().__init__()
        self.stem = Stem()
        # Row 0 is the class token: the stem's tokens are padded with a zero row before it is added.
        self.position = nn.Parameter(torch.randn(1, TOKENS, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        early = DecoupledExit if decoupled else LinearExit
        self.exits = nn.ModuleList([*(early() for _ in EXITS_AFTER[:-1]), LinearExit()])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return one ``(B, CLASSES) float32`` tensor an exit for ``(B, 1, 28, 28)`` pixels."""
        tokens = functional.pad(self.stem(image), (0, 0, 1, 0)) + self.position
        logits = []
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if number in EXITS_AFTER:
                logits.append(self.exits[EXITS_AFTER.index(number)](tokens))
        return tuple(logits)

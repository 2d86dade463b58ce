"""The benchmarked networks with random weights: a ViT-S/16 and a small CNN, four exits each.

Only the building process imports this file, so that torch's threads never disturb a measurement.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EXITS = 4

VIT_SIDE, PATCH, VIT_WIDTH, VIT_HEADS, VIT_BLOCKS = 224, 16, 384, 6, 12
VIT_CLASSES = 1000
PATCHES = (VIT_SIDE // PATCH) ** 2
BYPASS_WIDTH, MOMENT_WIDTH = 128, 16
NORM_FLOOR = 1e-3

CNN_SIDE, CNN_CLASSES = 64, 100
CNN_WIDTHS = (32, 64, 128, 192)
"""Channels of the four stages; all but the first halve the side."""


class Attention(nn.Module):
    """Multi-head self-attention, spelled out so that it exports to MatMul and Softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(VIT_WIDTH, 3 * VIT_WIDTH)
        self.out = nn.Linear(VIT_WIDTH, VIT_WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the attended tokens, ``(B, T, VIT_WIDTH)``."""
        size = VIT_WIDTH // VIT_HEADS
        count = PATCHES + 1
        qkv = self.qkv(tokens).reshape(-1, count, 3, VIT_HEADS, size).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0] * size**-0.5, qkv[1], qkv[2]
        weights = (query @ key.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.out((weights @ value).transpose(1, 2).reshape(-1, count, VIT_WIDTH))
        return mixed


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(VIT_WIDTH), nn.LayerNorm(VIT_WIDTH)
        self.attention = Attention()
        self.mlp = nn.Sequential(
            nn.Linear(VIT_WIDTH, 4 * VIT_WIDTH), nn.GELU(), nn.Linear(4 * VIT_WIDTH, VIT_WIDTH)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens after attention and feed-forward layer."""
        tokens = tokens + self.attention(self.norm1(tokens))
        hidden: Tensor = tokens + self.mlp(self.norm2(tokens))
        return hidden


class EarlyExit(nn.Module):
    """A bypass bottleneck, then a first-order predictor and a small second-order one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(VIT_WIDTH)
        self.bypass = nn.Sequential(nn.Linear(VIT_WIDTH, BYPASS_WIDTH), nn.GELU())
        self.first_order = nn.Linear(BYPASS_WIDTH, VIT_CLASSES)
        self.left = nn.Linear(BYPASS_WIDTH, MOMENT_WIDTH, bias=False)
        self.right = nn.Linear(BYPASS_WIDTH, MOMENT_WIDTH, bias=False)
        self.second_order = nn.Linear(MOMENT_WIDTH**2, VIT_CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits ``(B, VIT_CLASSES)``."""
        branch = self.bypass(self.norm(tokens))
        left, right = self.left(branch[:, 1:]), self.right(branch[:, 1:])
        cross = left.transpose(1, 2) @ right * (1.0 / PATCHES)
        rows = cross / (torch.linalg.vector_norm(cross, dim=-1, keepdim=True) + NORM_FLOOR)
        second = self.second_order(rows.reshape(-1, MOMENT_WIDTH**2))
        logits: Tensor = (self.first_order(branch[:, 0]) + second) * 0.5
        return logits


class LastExit(nn.Module):
    """A norm and a linear layer on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(VIT_WIDTH)
        self.head = nn.Linear(VIT_WIDTH, VIT_CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits ``(B, VIT_CLASSES)``."""
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits


class VitSmall(nn.Module):
    """ViT-S/16 at 224 px with exits after blocks 3, 6, 9 and 12."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, VIT_WIDTH, kernel_size=PATCH, stride=PATCH)
        # Row 0 is the class token: the patches are padded with a zero row before it is added.
        self.position = nn.Parameter(torch.randn(1, PATCHES + 1, VIT_WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(VIT_BLOCKS))
        self.exits = nn.ModuleList([*(EarlyExit() for _ in range(EXITS - 1)), LastExit()])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return one ``(B, VIT_CLASSES)`` an exit for ``(B, 3, 224, 224) float32``."""
        tokens = self.patch(image).flatten(2).transpose(1, 2)
        tokens = nn.functional.pad(tokens, (0, 0, 1, 0)) + self.position
        logits, every = [], VIT_BLOCKS // EXITS
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if number % every == 0:
                logits.append(self.exits[number // every - 1](tokens))
        return tuple(logits)


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, batch norm folded into weights and biases."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, stride, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        same = before == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, width, 1, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the feature maps after both convolutions."""
        inner = self.second(self.first(maps).relu())
        summed: Tensor = (inner + self.shortcut(maps)).relu()
        return summed


class SmallCnn(nn.Module):
    """Four stages of one residual block each, an exit of pooling and one linear layer a stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CNN_WIDTHS[0], 3, 2, 1)
        before = (CNN_WIDTHS[0], *CNN_WIDTHS)
        self.stages = nn.ModuleList(
            Residual(before[i], width, 1 if i == 0 else 2) for i, width in enumerate(CNN_WIDTHS)
        )
        self.heads = nn.ModuleList(nn.Linear(width, CNN_CLASSES) for width in CNN_WIDTHS)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return one ``(B, CNN_CLASSES)`` an exit for ``(B, 3, 64, 64) float32``."""
        maps, logits = self.stem(image).relu(), []
        for stage, head in zip(self.stages, self.heads, strict=True):
            maps = stage(maps)
            logits.append(head(maps.mean(dim=(2, 3))))
        return tuple(logits)

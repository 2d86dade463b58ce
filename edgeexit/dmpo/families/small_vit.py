"""A small vision transformer of our own, to be trained from scratch on small images.

A 3 x 3 convolution, patches, one class token, pre-norm blocks. Attention is spelled out, so that
it exports to MatMul and Softmax.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeexit.dmpo.families.base import Backbone, Family, Features, Hidden, InputShape
from edgeexit.dmpo.families.loading import bad_setting, check_setting, image_size
from edgeexit.errors import ModelError

POSITION_DEVIATION = 0.02
"""Standard deviation of fresh position embeddings, as in ViT (arXiv 2010.11929)."""


@dataclass(frozen=True)
class SmallViTSettings:
    """The size of a small ViT.

    Attributes:
        width: Width d of the tokens.
        depth: Number of blocks.
        heads: Attention heads; they divide the width.
        mlp_ratio: Width of the feed-forward layers, as a multiple of ``width``.
        patch: Side of a patch; what does not fill one at the right and the bottom is cut off.
        image_size: Side of an image, or its height and width.
        channels: Channels of an image.
        stem_channels: Channels between the stem's convolution and the patches.
    """

    width: int = 96
    depth: int = 8
    heads: int = 3
    mlp_ratio: int = 4
    patch: int = 3
    image_size: int | tuple[int, int] = 28
    channels: int = 1
    stem_channels: int = 8


class Stem(nn.Module):
    """Turns ``(B, channels, H, W)`` images into ``(B, patches, width)`` tokens.

    Args:
        settings: The size of the model.
    """

    def __init__(self, settings: SmallViTSettings) -> None:
        super().__init__()
        middle, patch = settings.stem_channels, settings.patch
        self.local = nn.Conv2d(settings.channels, middle, kernel_size=3, padding=1)
        self.patch = nn.Conv2d(middle, settings.width, kernel_size=patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        """Return the tokens of an image."""
        maps: Tensor = self.patch(F.gelu(self.local(image)))
        return maps.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: Width of the tokens.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the attended tokens, ``(B, T, d)``."""
        count, width = tokens.shape[1:]
        size = width // self.heads
        shape = (-1, count, 3, self.heads, size)
        qkv = self.qkv(tokens).reshape(shape).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0] * size**-0.5, qkv[1], qkv[2]
        weights = (query @ key.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.out((weights @ value).transpose(1, 2).reshape(-1, count, width))
        return mixed


class Block(nn.Module):
    """One pre-norm transformer block.

    Args:
        settings: The size of the model.
    """

    def __init__(self, settings: SmallViTSettings) -> None:
        super().__init__()
        width, inner = settings.width, settings.mlp_ratio * settings.width
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, settings.heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens after attention and feed-forward layer, ``(B, T, d)``."""
        tokens = tokens + self.attention(self.norm1(tokens))
        hidden: Tensor = tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return hidden


class SmallViTBackbone(Backbone):
    """A small ViT with random weights.

    Args:
        settings: Its size.

    Raises:
        InputError: The size is impossible: heads that do not divide the width, patches larger
            than the image.
    """

    modality = "image"
    lora_targets = ("qkv", "fc1", "fc2")

    def __init__(self, settings: SmallViTSettings) -> None:
        super().__init__()
        height, width = image_size("image_size", settings.image_size)
        self._grid = height // settings.patch, width // settings.patch
        if 0 in self._grid:
            raise bad_setting(f"patch = {settings.patch} exceeds image_size = {height, width}")
        if settings.width % settings.heads:
            raise bad_setting(f"heads = {settings.heads} must divide width = {settings.width}")
        self._width = settings.width
        self.inputs = (InputShape("image", (settings.channels, height, width), "float32"),)
        self.stem = Stem(settings)
        # Row 0 is the class token: a zero row is padded before the stem's tokens.
        shape = (1, 1 + self._grid[0] * self._grid[1], settings.width)
        self.position = nn.Parameter(torch.randn(shape) * POSITION_DEVIATION)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.depth))
        self.depth = settings.depth

    def start(self, *inputs: Tensor) -> Hidden:
        """Return class token and patches of ``image``, ``(B, C, H, W) float32``."""
        return Hidden(F.pad(self.stem(inputs[0]), (0, 0, 1, 0)) + self.position)

    def block(self, number: int, hidden: Hidden) -> Hidden:
        """Return the output of block ``number``, ``(B, T, d)``, not normalised."""
        return Hidden(self.blocks[number - 1](hidden.values))

    def features(self, hidden: Hidden) -> Features:
        """Return the tokens, summed up by the first one."""
        return Features(hidden.values, None, prefix=1, grid=self._grid, pooling="first")

    def width(self, number: int) -> int:
        """Return the width of the trunk, the same after every block."""
        del number
        return self._width

    def tokens(self, number: int) -> int:
        """Return the number of patches."""
        del number
        return self._grid[0] * self._grid[1]

    def truncate(self, depth: int) -> None:
        """Drop every block beyond ``depth``."""
        self.blocks = self.blocks[:depth]
        self.depth = len(self.blocks)


class SmallViTFamily(Family):
    """The small ViT; its settings are those of :class:`SmallViTSettings`."""

    name = "small-vit"

    def pretrained(self, source: str, revision: str | None, *, length: int) -> Backbone:
        """Refuse: nobody publishes weights of this architecture.

        Raises:
            ModelError: Always.
        """
        del revision, length
        raise ModelError(
            f"the family small-vit has no pretrained weights, but the source is {source!r}.",
            hint="leave out [backbone] source to train from scratch, or take the family vit.",
            code="model.not-pretrained",
        )

    def from_scratch(self, settings: dict[str, Any], *, length: int) -> Backbone:
        """Build a small ViT with random weights.

        Raises:
            InputError: A setting is unknown or out of range.
        """
        del length
        known = [field.name for field in dataclasses.fields(SmallViTSettings)]
        for name, value in settings.items():
            check_setting(name, value, known)
            if name != "image_size" and type(value) is not int:
                raise bad_setting(f"{name} = {value!r} must be a whole number")
        return SmallViTBackbone(SmallViTSettings(**settings))

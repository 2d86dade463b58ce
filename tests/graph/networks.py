"""Small multi-exit torch modules; the tests export them by ``tests.graph.networks:name``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


class Cnn(nn.Module):
    """Depthwise, grouped and plain convolutions with ReLU; two exits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.grouped = nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.early, self.late = nn.Linear(16, 10), nn.Linear(16, 10)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        x = torch.relu(self.depthwise(torch.relu(self.stem(image))))
        early = self.early(x.mean((2, 3)))
        x = torch.relu(self.up(torch.relu(self.grouped(x))))
        return [early, self.late(x.mean((2, 3)))]


class Block(nn.Module):
    """A pre-norm transformer block with explicit attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        rows, length, width = x.shape
        q, k, v = (
            part.reshape(rows, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).chunk(3, dim=-1)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm_2(x))))


class Vit(nn.Module):
    """Patches, class token, two blocks, an exit after each."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 48, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 48))
        self.position = nn.Parameter(torch.randn(1, 65, 48))
        self.blocks = nn.ModuleList([Block(48, 3), Block(48, 3)])
        self.heads = nn.ModuleList([nn.Linear(48, 10), nn.Linear(48, 10)])

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        exits = {}
        for number, (block, head) in enumerate(zip(self.blocks, self.heads, strict=True)):
            x = block(x)
            exits[("early", "final")[number]] = head(x[:, 0])
        return exits


@dataclass
class TextOutput:
    """Two exits of the text encoder."""

    first: torch.Tensor
    last: torch.Tensor


class TextEncoder(nn.Module):
    """Token ids and a mask, a dynamic length, embeddings; returns a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        self.blocks = nn.ModuleList([Block(32, 2), Block(32, 2)])
        self.heads = nn.ModuleList([nn.Linear(32, 4), nn.Linear(32, 4)])

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> TextOutput:
        x = self.embedding(ids)
        wide = mask[:, None, None, :].bool()
        x = self.blocks[0](x, wide)
        first = self.heads[0](x[:, 0])
        last = self.heads[1](self.blocks[1](x, wide)[:, 0])
        return TextOutput(first, last)


class Leaving(nn.Module):
    """Leaves early by itself, which cannot be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        early = self.a(x)
        if early.softmax(-1).max() > 0.9:
            return [early, early]
        return [early, self.b(x)]


class Linears(nn.Module):
    """Two linear exits in a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.relu(self.a(x))
        return self.b(x), self.c(hidden)


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return Cnn()


def vit() -> nn.Module:
    torch.manual_seed(0)
    return Vit()


def text_encoder() -> nn.Module:
    torch.manual_seed(0)
    return TextEncoder()


def leaving() -> nn.Module:
    return Leaving()


def linears() -> nn.Module:
    torch.manual_seed(0)
    return Linears()


def broken() -> nn.Module:
    raise RuntimeError("weights are on another machine")


def not_a_module() -> int:
    return 3

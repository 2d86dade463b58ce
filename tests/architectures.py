"""Multi-exit networks of other shapes than the demo's, as torch factories with random weights."""

from __future__ import annotations

import torch
from torch import nn


class MultiScale(nn.Module):
    """In the manner of MSDNet: two scales, dense connections, three exits stacked in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.ModuleList(nn.Conv2d(c, 8, 3, padding=1) for c in (3, 8, 16))
        self.coarse = nn.ModuleList(
            nn.Conv2d(c, 8, 3, stride=s, padding=1) for c, s in ((8, 2), (16, 1), (24, 1))
        )
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(c, 7) for c in (8, 16, 24))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        fine = [torch.relu(self.fine[0](image))]
        coarse = [torch.relu(self.coarse[0](fine[0]))]
        exits = [self.heads[0](coarse[0].mean((2, 3)))]
        for step in (1, 2):
            fine.append(torch.relu(self.fine[step](torch.cat(fine, 1))))
            lower = torch.relu(self.down[step - 1](fine[-1]))
            coarse.append(torch.relu(self.coarse[step](torch.cat([*coarse, lower], 1))))
            exits.append(self.heads[step](torch.cat(coarse, 1).mean((2, 3))))
        return torch.stack(exits)


class TwoBranches(nn.Module):
    """In the manner of Dyn-Perceiver: latents read features; an exit's logits feed the next."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 4, stride=4)
        self.blocks = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(3))
        self.latent = nn.Parameter(torch.randn(1, 4, 16))
        self.read = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(w, 6) for w in (16, 22, 22))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.stem(image)
        latent = self.latent.expand(image.shape[0], -1, -1)
        logits: list[torch.Tensor] = []
        for block, read, head in zip(self.blocks, self.read, self.heads, strict=True):
            features = features + torch.tanh(block(features))
            tokens = features.flatten(2).transpose(1, 2)
            weights = torch.softmax(latent @ tokens.transpose(1, 2), dim=-1)
            latent = latent + read(weights @ tokens)
            pooled = latent.mean(1)
            logits.append(head(torch.cat([pooled, *logits[-1:]], dim=1)))
        return {f"exit_{number}": value for number, value in enumerate(logits, start=1)}


class Windows(nn.Module):
    """In the manner of Swin: attention in windows, so a boundary tensor has four rows a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 16)
        self.qkv = nn.ModuleList(nn.Linear(16, 48) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(16, 5) for _ in range(3))

    def forward(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        windows = self.embed(tokens).reshape(-1, 4, 16)
        exits = []
        for layer, head in zip(self.qkv, self.heads, strict=True):
            q, k, v = layer(windows).chunk(3, dim=-1)
            windows = windows + torch.softmax(q @ k.transpose(1, 2) / 4, dim=-1) @ v
            exits.append(head(windows.reshape(-1, 16, 16).mean(1)))
        return exits


class MaskedText(nn.Module):
    """In the manner of BERT: token numbers, a mask, a dynamic length, final Softmax layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 16)
        self.qkv = nn.ModuleList(nn.Linear(16, 48) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(16, 4) for _ in range(3))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.words(ids)
        hidden = (1.0 - mask[:, None, :].to(x.dtype)) * -1e4
        exits = []
        for layer, head in zip(self.qkv, self.heads, strict=True):
            q, k, v = layer(x).chunk(3, dim=-1)
            x = x + torch.softmax(q @ k.transpose(1, 2) / 4 + hidden, dim=-1) @ v
            exits.append(torch.softmax(head(x[:, 0]), dim=-1))
        return tuple(exits)


def multi_scale() -> nn.Module:
    """Return a seeded :class:`MultiScale`."""
    torch.manual_seed(1)
    return MultiScale()


def two_branches() -> nn.Module:
    """Return a seeded :class:`TwoBranches`."""
    torch.manual_seed(2)
    return TwoBranches()


def windows() -> nn.Module:
    """Return a seeded :class:`Windows`."""
    torch.manual_seed(3)
    return Windows()


def masked_text() -> nn.Module:
    """Return a seeded :class:`MaskedText`."""
    torch.manual_seed(4)
    return MaskedText()

"""A multi-exit network of your own: nothing in it knows of edgeexit.

Any module whose ``forward`` returns its exits' logits, first to last, compiles as it is::

    edgeexit compile network:build --input-shape signal=batch,64 --data network:data -o mine.eex
    edgeexit calibrate mine.eex --data network:data --budget 0.6
    edgeexit bench mine.eex --data network:data
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

_CLASSES = 6


class Network(nn.Module):
    """Three blocks with residual connections, an exit after each."""

    def __init__(self, width: int = 640) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(3)
        )
        self.heads = nn.ModuleList(nn.Linear(width, _CLASSES) for _ in range(3))

    def forward(self, signal: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits of all exits, each ``(batch, 6)``."""
        x = self.stem(signal)
        exits = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = x + block(x)
            exits.append(head(x))
        return exits


def data(count: int = 2000, seed: int = 1) -> dict[str, npt.NDArray[np.generic]]:
    """Return signals ``(n, 64) float32`` of noisy clusters, and their classes ``y``."""
    random = np.random.default_rng(0)
    centers = random.standard_normal((_CLASSES * 4, 64))
    random = np.random.default_rng(seed)
    cluster = random.integers(0, len(centers), count)
    signal = centers[cluster] + 2.4 * random.standard_normal((count, 64))
    return {"signal": signal.astype(np.float32), "y": (cluster % _CLASSES).astype(np.int64)}


def build() -> nn.Module:
    """Train the network for a few seconds and return it."""
    torch.manual_seed(0)
    network = Network()
    arrays = data(4000, seed=2)
    signal, labels = torch.from_numpy(arrays["signal"]), torch.from_numpy(arrays["y"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(6):
        for rows in torch.randperm(len(signal)).split(100):
            exits = network(signal[rows])
            loss = sum(nn.functional.cross_entropy(logits, labels[rows]) for logits in exits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()

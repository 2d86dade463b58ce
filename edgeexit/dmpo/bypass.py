"""DMPO's bypass: a bottleneck on the predictor's branch, from which nothing returns to the trunk.

It turns the trunk's low-level features into what a classifier needs, so that the trunk itself
need not (arXiv 2511.03245, section 3; width and depth are ours to choose).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Bypass(nn.Module):
    """Maps every token through ``depth`` linear layers, a GELU after each.

    Args:
        width: Width d of the trunk's features.
        bottleneck: Width of the layers.
        depth: Number of layers, 1 or more.
    """

    def __init__(self, width: int, bottleneck: int, depth: int) -> None:
        super().__init__()
        widths = [width, *[bottleneck] * depth]
        self.layers = nn.Sequential(
            *(
                layer
                for before, after in pairwise(widths)
                for layer in (nn.Linear(before, after), nn.GELU())
            )
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``(B, T, bottleneck)`` of tokens ``(B, T, d)``."""
        branch: Tensor = self.layers(tokens)
        return branch

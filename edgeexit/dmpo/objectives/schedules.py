"""How DMPO's exit weights gamma_k move in the course of a training. No torch here.

The two phases (arXiv 2511.03245, section 3.3): the deep exits rule first, so that the trunk
becomes a good trunk; then the early exits do, so that their predictors become good predictors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

Weights = tuple[float, ...]

PAPER_START: Weights = (0.01, 0.01, 1.0, 2.0)
PAPER_END: Weights = (1.5, 1.0, 0.2475, 0.2675)
"""gamma of exits 1 to 4 at the first and the last epoch, from the paper's public code."""


def stretched(weights: Sequence[float], exits: int) -> Weights:
    """Return ``weights`` read off at ``exits`` evenly spaced places, first and last kept.

    The paper gives weights for four exits; a model of another number takes them at the same
    relative place. A sole exit takes the last.
    """
    if exits == 1:
        return (float(weights[-1]),)
    places = [index * (len(weights) - 1) / (exits - 1) for index in range(exits)]
    low = [min(int(place), len(weights) - 2) for place in places]
    return tuple(
        weights[i] + (weights[i + 1] - weights[i]) * (place - i)
        for i, place in zip(low, places, strict=True)
    )


@dataclass(frozen=True)
class Schedule(ABC):
    """Weights that move from ``start`` to ``end``.

    Attributes:
        start: Weight of every exit at the beginning.
        end: Weight of every exit at the end.
    """

    start: Weights
    end: Weights

    def weights(self, progress: float) -> Weights:
        """Return the weight of every exit at ``progress``, 0 at the first step and 1 at the last.

        gamma_k = S_k + (E_k - S_k) * share(progress).
        """
        share = self.share(progress)
        return tuple(s + (e - s) * share for s, e in zip(self.start, self.end, strict=True))

    @abstractmethod
    def share(self, progress: float) -> float:
        """Return how far the weights have moved, 0 to 1."""


class Constant(Schedule):
    """The weights stay at ``start``."""

    def share(self, progress: float) -> float:
        """Return 0."""
        return 0.0


class Linear(Schedule):
    """As in the paper's public code: in proportion to what is done."""

    def share(self, progress: float) -> float:
        """Return ``progress``."""
        return progress


class Cosine(Schedule):
    """Slow at both ends, fast in the middle."""

    def share(self, progress: float) -> float:
        """Return (1 - cos(pi * progress)) / 2."""
        return (1 - math.cos(math.pi * progress)) / 2


class Exponential(Schedule):
    """Each weight changes by the same factor in equal times; they must be above 0."""

    def weights(self, progress: float) -> Weights:
        """Return S_k^(1 - progress) * E_k^progress."""
        return tuple(
            s ** (1 - progress) * e**progress for s, e in zip(self.start, self.end, strict=True)
        )

    def share(self, progress: float) -> float:
        """Return ``progress``: the exponent moves linearly."""
        return progress


@dataclass(frozen=True)
class TwoPhase(Schedule):
    """``start`` before the boundary, ``end`` from there on.

    Attributes:
        boundary: Share of the training at which the second phase begins.
    """

    boundary: float = 0.5

    def share(self, progress: float) -> float:
        """Return 0 in the first phase and 1 in the second."""
        return float(progress >= self.boundary)


@dataclass(frozen=True)
class Milestone(Schedule):
    """An equal step from ``start`` towards ``end`` at every milestone.

    Attributes:
        milestones: Shares of the training at which a step is taken.
    """

    milestones: tuple[float, ...] = (0.25, 0.5, 0.75)

    def share(self, progress: float) -> float:
        """Return the share of the milestones that are passed."""
        return sum(progress >= mark for mark in self.milestones) / len(self.milestones)

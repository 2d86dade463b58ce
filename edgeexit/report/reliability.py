"""How much an exit's confidence can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15
"""Bins of equal width, as in Guo et al., "On calibration of modern neural networks" (2017)."""

FEW = 20
"""Below this many samples the quality in a bin is an anecdote: its standard error is up to 0.11."""


@dataclass(frozen=True)
class Bin:
    """Samples whose confidence lies between two bounds.

    Attributes:
        low: Lower bound, not in the bin (but 0 is in the first).
        high: Upper bound, in the bin.
        count: Samples.
        confidence: Their mean confidence; None without samples.
        quality: Their mean quality; None without samples.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    quality: float | None


@dataclass(frozen=True)
class Reliability:
    """One exit's confidence against its quality, on all samples, wherever they leave.

    Attributes:
        exit: Number of the exit, from 1.
        confidence: Mean confidence: the softmax of the top class, at temperature 1.
        quality: Mean quality.
        ece: Expected calibration error, a fraction.
        bins: The 15 bins.
    """

    exit: int
    confidence: float
    quality: float
    ece: float
    bins: tuple[Bin, ...]


def reliability(
    number: int, confidence: npt.NDArray[np.floating[Any]], quality: npt.NDArray[np.floating[Any]]
) -> Reliability:
    """Return how far the confidence of one exit can be believed.

    The error is ``sum_b n_b / n |quality_b - confidence_b|`` over the bins (Guo et al. 2017,
    equation 3).

    Args:
        number: Number of the exit, from 1.
        confidence: ``(n,)`` in [0, 1].
        quality: ``(n,)`` 1 where the answer is right, else 0.
    """
    edges = np.linspace(0.0, 1.0, BINS + 1)
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    believed = np.bincount(place, confidence, BINS)
    right = np.bincount(place, quality, BINS)
    bins = tuple(
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            int(counts[i]),
            float(believed[i] / counts[i]) if counts[i] else None,
            float(right[i] / counts[i]) if counts[i] else None,
        )
        for i in range(BINS)
    )
    ece = float(np.abs(right - believed).sum() / len(confidence))
    return Reliability(number, float(confidence.mean()), float(quality.mean()), ece, bins)

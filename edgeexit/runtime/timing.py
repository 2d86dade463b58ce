"""Statistics of interleaved measurements: percentiles, and ratios with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)
"""Percentiles of a 95 % interval."""


@dataclass(frozen=True)
class TimeStats:
    """Times of one thing, in milliseconds.

    Attributes:
        count: How many times it was measured.
        mean: Their mean.
        minimum: The shortest.
        p50: The median.
        p90: What 90 % stay below.
        p95: What 95 % stay below.
        p99: What 99 % stay below.
    """

    count: int
    mean: float
    minimum: float
    p50: float
    p90: float
    p95: float
    p99: float

    @classmethod
    def of(cls, milliseconds: npt.NDArray[np.float64]) -> TimeStats:
        """Return the statistics of at least one time."""
        percentiles = (float(p) for p in np.percentile(milliseconds, (50, 90, 95, 99)))
        shortest = float(milliseconds.min())
        return cls(len(milliseconds), float(milliseconds.mean()), shortest, *percentiles)


@dataclass(frozen=True)
class Ratio:
    """How much longer one thing takes than another, measured in turn.

    Attributes:
        median: Median of the ratios of paired measurements.
        of_minima: Ratio of the two shortest times, which outside load disturbs least.
        low: Lower end of the 95 % interval of the median (bootstrap over the pairs).
        high: Its upper end.
        pairs: Number of pairs.
    """

    median: float
    of_minima: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(
        cls, above: npt.NDArray[np.float64], below: npt.NDArray[np.float64], seed: int = 0
    ) -> Ratio:
        """Return the ratio of paired times ``(n,)``, in any one unit.

        The interval is the percentile bootstrap (Efron and Tibshirani, 1993, chapter 13).
        """
        ratios = above / below
        draws = np.random.default_rng(seed).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
        low, high = np.percentile(np.median(ratios[draws], axis=1), _INTERVAL)
        minima = float(above.min() / below.min())
        return cls(float(np.median(ratios)), minima, float(low), float(high), len(ratios))

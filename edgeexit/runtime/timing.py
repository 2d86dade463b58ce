"""Interleaved measurements: their rounds, and percentiles and ratios of what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

NANOSECONDS_A_MILLISECOND = 1e6

_MAX_ROUNDS = 5000
_WARM_ROUNDS = 3
_NANOSECONDS_A_SECOND = 1e9
_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)
"""Percentiles of a 95 % interval."""


def rounds_within(seconds: float, least: int) -> Iterator[bool]:
    """Yield once a round whether its times count: those of the first three do not.

    Args:
        seconds: How long the rounds may take.
        least: Rounds that count, however long they take; 5,000 at most however short.
    """
    end = perf_counter_ns() + int(seconds * _NANOSECONDS_A_SECOND)
    for number in range(_WARM_ROUNDS + _MAX_ROUNDS):
        if number >= _WARM_ROUNDS + least and perf_counter_ns() > end:
            return
        yield number >= _WARM_ROUNDS


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

"""Interleaved measurement, and the statistics of pairs taken in the same rounds."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns

import numpy as np
import numpy.typing as npt

from edgeexit.runtime.timing import Ratio

Times = npt.NDArray[np.float64]
"""``(rounds,)`` milliseconds."""

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)
"""Percentiles of a 95 % interval."""

_NANOSECONDS_A_MILLISECOND = 1e6


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    least: int = 8,
    most: int = 4000,
    warm: int = 3,
) -> dict[str, Times]:
    """Run every contender once a round until the time is over; the order turns and reverses.

    Args:
        contenders: What to call, by name.
        seconds: How long to measure.
        least: Rounds to make even where the time is over before.
        most: Rounds at most.
        warm: Rounds before that, not counted.

    Returns:
        Milliseconds of each round, by name.
    """
    names = list(contenders)
    spent: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(warm):
            for name in names:
                contenders[name]()
        end = perf_counter() + seconds
        number = 0
        while number < least or (number < most and perf_counter() < end):
            for name in turn(names, number):
                call = contenders[name]
                start = perf_counter_ns()
                call()
                spent[name].append((perf_counter_ns() - start) / _NANOSECONDS_A_MILLISECOND)
            number += 1
    finally:
        if collecting:
            gc.enable()
    return {name: np.array(times) for name, times in spent.items()}


def turn(names: list[str], number: int) -> list[str]:
    """Return the order of round ``number``: A B C, C B A, B C A, A C B, ...

    Everyone comes first, in the middle and last equally often, and before and after each other.
    """
    shift = number // 2 % len(names)
    order = names[shift:] + names[:shift]
    return order[::-1] if number % 2 else order


@dataclass(frozen=True)
class Comparison:
    """A against B, beside B against itself in the same rounds.

    Attributes:
        ratio: A over B.
        same: B again over B: what this machine makes of a ratio of 1.
        normalised: Median of A over B, over the median of B again over B.
        low: Lower end of its 95 % interval (bootstrap over the rounds).
        high: Its upper end.
    """

    ratio: Ratio
    same: Ratio
    normalised: float
    low: float
    high: float

    @classmethod
    def of(cls, above: Times, below: Times, again: Times, seed: int = 0) -> Comparison:
        """Return the comparison of ``(n,)`` times of the same n rounds.

        The interval is the percentile bootstrap (Efron and Tibshirani, 1993, chapter 13).
        """
        ratios, same = above / below, again / below
        draws = _draws(len(ratios), seed)
        spread = np.median(ratios[draws], axis=1) / np.median(same[draws], axis=1)
        low, high = np.percentile(spread, INTERVAL)
        middle = float(np.median(ratios) / np.median(same))
        return cls(Ratio.of(above, below), Ratio.of(again, below), middle, float(low), float(high))

    def as_values(self) -> dict[str, float]:
        """Return the figures by name, for the JSON file."""
        return {
            "median": self.ratio.median,
            "low": self.ratio.low,
            "high": self.ratio.high,
            "of_minima": self.ratio.of_minima,
            "same_median": self.same.median,
            "same_low": self.same.low,
            "same_high": self.same.high,
            "same_of_minima": self.same.of_minima,
            "normalised": self.normalised,
            "normalised_low": self.low,
            "normalised_high": self.high,
            "rounds": self.ratio.pairs,
        }

    def text(self) -> str:
        """Return ``median [interval], of minima`` for the table."""
        ratio = self.ratio
        return f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], {ratio.of_minima:.3f}"

    def same_text(self) -> str:
        """Return the same of B against itself."""
        same = self.same
        return f"{same.median:.3f} [{same.low:.3f}, {same.high:.3f}], {same.of_minima:.3f}"


@dataclass(frozen=True)
class Excess:
    """How much longer A takes than B, in microseconds.

    Attributes:
        median: Median of the differences of the rounds.
        of_minima: Difference of the shortest times.
        low: Lower end of the median's 95 % interval.
        high: Its upper end.
    """

    median: float
    of_minima: float
    low: float
    high: float

    @classmethod
    def of(cls, above: Times, below: Times, parts: int = 1, seed: int = 0) -> Excess:
        """Return the excess of paired milliseconds, divided by a number of equal ``parts``."""
        extra = (above - below) * 1000 / parts
        low, high = np.percentile(np.median(extra[_draws(len(extra), seed)], axis=1), INTERVAL)
        shortest = float(above.min() - below.min()) * 1000 / parts
        return cls(float(np.median(extra)), shortest, float(low), float(high))

    def text(self) -> str:
        """Return ``median [interval], of minima`` in microseconds."""
        return f"{self.median:.1f} [{self.low:.1f}, {self.high:.1f}], {self.of_minima:.1f} µs"


def spread_text(times: Times) -> str:
    """Return ``median (minimum) ms`` of one contender."""
    return f"{np.median(times):.3f} ({times.min():.3f}) ms"


def _draws(count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))

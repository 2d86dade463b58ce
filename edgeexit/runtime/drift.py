"""Whether samples leave where calibration says they do: a chi-square test a window."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST_EXPECTED = 5.0
"""Exits expected fewer times are pooled: below it the chi-square approximation is poor (Cochran,
"Some methods for strengthening the common chi-square tests", Biometrics 1954)."""


@dataclass(frozen=True)
class Drift:
    """What the test of exit shares has found so far.

    Attributes:
        window: Samples a test.
        false_alarms: The probability of an alarm in a window of independent samples that are like
            the calibration set. Correlated samples (frames of a video) raise more.
        windows: Windows tested.
        alarms: Windows that raised an alarm.
        p_value: Of the last window; None before the first.
        observed: ``(K,)`` shares in the last window.
        expected: ``(K,)`` shares that calibration saw at the settings in force in it.
    """

    window: int
    false_alarms: float
    windows: int = 0
    alarms: int = 0
    p_value: float | None = None
    observed: tuple[float, ...] = ()
    expected: tuple[float, ...] = ()

    @property
    def drifting(self) -> bool:
        """Whether the last window raised an alarm."""
        return self.p_value is not None and self.p_value < self.false_alarms


def drift_p_value(observed: Array, expected: Array, calibrated: int) -> float:
    """Return the probability of shares at least this far from calibration's by chance.

    Pearson's statistic, the sum of ``(O - E)^2 / E``, divided by ``1 + n / n_cal``: the expected
    shares were themselves estimated, on ``n_cal`` samples (the two-sample form of the test).

    Args:
        observed: ``(K,)`` counts in the window.
        expected: ``(K,)`` counts expected, with the same sum n.
        calibrated: Calibration samples ``n_cal``.
    """
    found, wanted = _pooled(observed, expected)
    if len(wanted) < 2:
        return 1.0
    statistic = float(((found - wanted) ** 2 / wanted).sum())
    return chi2_tail(statistic / (1 + float(wanted.sum()) / calibrated), len(wanted) - 1)


def _pooled(observed: Array, expected: Array) -> tuple[Array, Array]:
    """Join neighbouring exits until each is expected often enough."""
    found: list[float] = []
    wanted: list[float] = []
    joined = seen = 0.0
    for count, mean in zip(observed, expected, strict=True):
        joined, seen = joined + float(mean), seen + float(count)
        if joined >= LEAST_EXPECTED:
            found.append(seen)
            wanted.append(joined)
            joined = seen = 0.0
    if wanted:
        found[-1] += seen
        wanted[-1] += joined
    return np.asarray(found), np.asarray(wanted)


def chi2_tail(statistic: float, degrees: int) -> float:
    """Return P(X >= statistic) for a chi-square variable, by the recurrence in its degrees.

    Q(x, k + 2) = Q(x, k) + (x/2)^(k/2) e^(-x/2) / Gamma(k/2 + 1) (Abramowitz and Stegun, 26.4.8).
    """
    half = statistic / 2
    if half <= 0:
        return 1.0
    start = 1 if degrees % 2 else 2
    tail = math.erfc(math.sqrt(half)) if start == 1 else math.exp(-half)
    for k in range(start, degrees, 2):
        tail += math.exp(k / 2 * math.log(half) - half - math.lgamma(k / 2 + 1))
    return min(tail, 1.0)

"""Confidence bands by resampling independent units."""

from __future__ import annotations

import numpy as np

from edgeexit.calibrate.nesting import Array, Integers

RESAMPLES = 400
BAND = (2.5, 97.5)
"""Percentiles of a 95 % band."""

_AT_ONCE = 50


def resampled_means(values: Array, units: Integers, seed: int = 0) -> Array:
    """Return the mean of each column over samples, in each of 400 resamples of whole units.

    The bootstrap of clusters (Davison and Hinkley, "Bootstrap Methods and their Application",
    1997, section 3.8): units are drawn with replacement, their samples stay together.

    Args:
        values: ``(n, C)``.
        units: ``(n,)`` unit of each sample.
        seed: Draws the resamples, so that calls with the same units are paired.

    Returns:
        ``(400, C)``.
    """
    codes = np.unique(units, return_inverse=True)[1].reshape(-1)
    count = int(codes.max()) + 1
    sizes = np.bincount(codes, minlength=count).astype(np.float64)
    sums = np.stack([np.bincount(codes, column, count) for column in values.T], axis=1)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(0, RESAMPLES, _AT_ONCE):
        drawn = rng.integers(0, count, (_AT_ONCE, count))
        weights = np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)
        found.append((weights @ sums) / (weights @ sizes)[:, None])
    return np.concatenate(found)


def band(resamples: Array) -> tuple[Array, Array]:
    """Return lower and upper ends ``(C,)`` of the 95 % bands of ``(R, C)`` resampled figures."""
    low, high = np.percentile(resamples, BAND, axis=0)
    return low, high

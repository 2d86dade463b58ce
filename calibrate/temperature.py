"""Temperature scaling of one exit's logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BOUNDS = (0.05, 20.0)
"""Temperatures searched; a set without a single error would otherwise send T to 0."""

STEPS = 25
"""Bisection steps: log T to about 2e-7."""


def log_softmax(logits: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Return ``log softmax(logits / temperature)`` over the last axis, ``(n, C)``."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    normalised: npt.NDArray[np.float64] = scaled - np.log(
        np.exp(scaled).sum(axis=-1, keepdims=True)
    )
    return normalised


def fit_temperature(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Return the temperature that minimises the negative log-likelihood of ``labels``.

    The NLL is convex in 1/T (Guo et al., "On Calibration of Modern Neural Networks", 2017,
    section 4.2), so the sign of its slope, ``E_p[logit] - logit_label``, is bisected.

    Args:
        logits: ``(n, C)``.
        labels: ``(n,)`` in [0, C).
    """
    at_label = logits[np.arange(len(labels)), labels]
    low, high = np.log(BOUNDS[0]), np.log(BOUNDS[1])
    for _ in range(STEPS):
        middle = (low + high) / 2
        probabilities = np.exp(log_softmax(logits, float(np.exp(middle))))
        too_sharp = np.mean((probabilities * logits).sum(axis=1) - at_label) > 0
        low, high = (middle, high) if too_sharp else (low, middle)
    return float(np.exp((low + high) / 2))

"""Ridge regressions of a gain or a probability on gate features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RIDGE = 1.0
"""Penalty on each squared weight of a standardised feature."""

INTERCEPT_RIDGE = 1e-2
"""Keeps a logistic intercept finite where all targets are 1."""

NEWTON_STEPS = 25


@dataclass(frozen=True)
class Design:
    """Standardised features behind a column of ones.

    Constant features (agreement at exit 1 is always 0) become columns of zeros, whose weight the
    ridge holds at 0.

    Attributes:
        matrix: ``(n, 1 + F)``.
        mean: ``(F,)``.
        scale: ``(F,)``; 1 for constant features.
    """

    matrix: Array
    mean: Array
    scale: Array

    @classmethod
    def of(cls, features: npt.NDArray[np.float32]) -> Design:
        """Return the design of raw features ``(n, F)``."""
        values = features.astype(np.float64)
        mean: Array = np.mean(values, axis=0, dtype=np.float64)
        deviation: Array = np.std(values, axis=0, dtype=np.float64)
        scale: Array = np.where(deviation > 1e-6 * (1 + np.abs(mean)), deviation, 1.0)
        standard: Array = np.where(scale == deviation, (values - mean) / scale, 0.0)
        return cls(np.column_stack([np.ones(len(values)), standard]), mean, scale)

    def linear(self, target: Array, ridge: float | Array = RIDGE) -> Array:
        """Return the ridge regression ``(1 + F,)`` of ``target (n,)``; its intercept is free.

        Args:
            target: What to regress.
            ridge: Penalty on each squared weight, one for all or ``(F,)``.
        """
        gram = self.matrix.T @ self.matrix
        penalty = np.zeros(len(gram))
        penalty[1:] = ridge
        solution = np.linalg.solve(gram + np.diag(penalty), self.matrix.T @ target)
        return np.asarray(solution, dtype=np.float64)

    def logistic(self, target: Array) -> Array:
        """Return the ridge logistic regression of ``target (n,)`` in [0, 1], by Newton's method."""
        penalty = np.full(self.matrix.shape[1], RIDGE)
        penalty[0] = INTERCEPT_RIDGE
        weights = np.zeros(len(penalty))
        loss = self._loss(weights, target, penalty)
        for _ in range(NEWTON_STEPS):
            probability = sigmoid(self.matrix @ weights)
            slope = self.matrix.T @ (probability - target) + penalty * weights
            curvature = self.matrix.T @ (
                self.matrix * (probability * (1 - probability))[:, None]
            ) + np.diag(penalty)
            step = np.linalg.solve(curvature, slope)
            size = 1.0
            while self._loss(weights - size * step, target, penalty) > loss and size > 1e-6:
                size /= 2
            weights = weights - size * step
            previous, loss = loss, self._loss(weights, target, penalty)
            if previous - loss <= 1e-9 * (1 + abs(loss)):
                break
        return weights

    def raw(self, weights: Array) -> tuple[float, Array]:
        """Return intercept and weights ``(F,)`` for features that are not standardised."""
        slopes = weights[1:] / self.scale
        return float(weights[0] - slopes @ self.mean), slopes

    def _loss(self, weights: Array, target: Array, penalty: Array) -> float:
        """Return the penalised cross-entropy, summed."""
        logit = self.matrix @ weights
        entropy = np.logaddexp(0.0, logit) - target * logit
        return float(entropy.sum() + 0.5 * penalty @ weights**2)


def sigmoid(logit: Array) -> Array:
    """Return ``1 / (1 + exp(-logit))`` without overflow."""
    return np.exp(-np.logaddexp(0.0, -logit))

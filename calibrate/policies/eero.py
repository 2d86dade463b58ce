"""``eero``: exit fractions by exponential weights of risk and cost."""

from __future__ import annotations

import numpy as np

from edgeexit.calibrate.policies.base import Array, Policy, Shape
from edgeexit.calibrate.policies.confidence import confidence
from edgeexit.calibrate.policies.fractions import fraction_thresholds, leave_by_fractions
from edgeexit.calibrate.records import ExitRecords

SHARPNESS = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Values of beta that are tried; the paper leaves it to validation."""

STEPS = 97
"""Prices of cost, from those that leave everything at exit 1 to those that leave it at exit K."""

STEEPEST = 60.0
"""Largest ratio of weights between exits 1 and K, as a logarithm."""


class Eero(Policy):
    """Fractions ``eps_k`` proportional to ``exp(-(R_k + lambda c_k) / beta)``; the knob is lambda.

    Valade, Hebiri and Gay, "EERO: Early Exit with Reject Option for Efficient Classification with
    Limited Budget" (2024): the exits' risks ``R_k`` and the budget fix how many samples leave
    where, the quantile rule which ones. The form is inferred from the paper; beta is the one of
    five that answers best at the reference budget on these records.
    """

    name = "eero"
    gates = ("statistics", "confidence")
    needs = ("log_odds",)

    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        params, scores = confidence(records)
        risk = 1 - records.quality.mean(axis=0, dtype=np.float64)

        def answers(beta: float) -> float:
            path = exit_fractions(risk, costs, beta)
            at = np.interp(reference, path @ costs, np.arange(len(path)))
            left = leave_by_fractions(scores, path[round(float(at))])
            return float(records.quality[np.arange(len(records)), left].mean(dtype=np.float64))

        fractions = exit_fractions(risk, costs, max(SHARPNESS, key=answers))
        return Shape(params, fraction_thresholds(scores, fractions, costs))


def exit_fractions(risk: Array, costs: Array, beta: float) -> Array:
    """Return the fractions ``(P, K)`` of all prices, from cheap to dear.

    Args:
        risk: ``(K,)`` share of wrong answers of each exit.
        costs: ``(K,)``, rising.
        beta: How little risk and cost weigh.
    """
    slope = np.linspace(-1.0, 1.0, STEPS)
    tilt = np.sign(slope) * slope**2 * STEEPEST / (costs[-1] - costs[0])
    exponent = -risk / beta + tilt[:, None] * (costs - costs.mean())
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    fractions: Array = weights / weights.sum(axis=1, keepdims=True)
    return fractions

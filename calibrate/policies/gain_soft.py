"""``gain-soft``: go on where going on is worth its cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeexit.calibrate.nesting import gate_scores
from edgeexit.calibrate.policies.base import Array, Policy, Shape, weighed
from edgeexit.calibrate.policies.lagrangian import priced_thresholds
from edgeexit.calibrate.policies.regression import Design, sigmoid
from edgeexit.calibrate.policies.soft import targets
from edgeexit.calibrate.records import ExitRecords

PREDICTORS = (
    "log_odds",
    "log_odds_squared",
    "margin",
    "entropy",
    "agree_previous",
    "previous_log_odds",
    "agree_log_odds",
    "agree_fraction",
)
"""Features the gain is regressed on, where a gate has them; ``bias`` takes the intercept."""

CONFIDENCE = ("log_odds", "log_odds_squared")
"""Predictors that are nearly free; the others must earn their weight."""

CONFIDENCE_RIDGE, OTHER_RIDGE = 0.3, 150.0
"""Penalties on squared weights: at 1,000 samples the others add some tenths of what least squares
would give them, at 50,000 nearly all."""

PRICE_STEPS = 30
"""Bisection steps on the price of cost."""

HIGHEST_PRICE = 2.0**20
"""Quality a whole model's cost is priced at, at most; all then leave at exit 1."""

FLAT = 1e-6
"""Spread of the gain between samples, in right answers, below which it tells nothing of them: their
scores would tie in float32. Where no sample gains by going on, that is the whole truth."""


@dataclass(frozen=True)
class _Problem:
    """What backward induction needs.

    Attributes:
        designs: One :class:`Design` a gate.
        expected: ``(n, K - 1)``: what leaving at each exit is worth, as far as its gate can tell.
        reward: ``(n, K)``: what it is worth.
        costs: ``(K,)`` cumulative costs, in units of c_K.
        ridge: ``(F,)`` penalties of the predictors.
    """

    designs: tuple[Design, ...]
    expected: Array
    reward: Array
    costs: Array
    ridge: Array

    def solve(self, price: float) -> tuple[list[Array], float]:
        """Return the gain's weights at each gate, and the mean cost of stopping at no gain.

        Args:
            price: Quality that one c_K of cost must earn.
        """
        worth = self.reward[:, -1].copy()
        spent = np.full(len(worth), self.costs[-1])
        weights: list[Array] = []
        for gate in reversed(range(len(self.designs))):
            toll = price * (self.costs[gate + 1] - self.costs[gate])
            target = worth - self.expected[:, gate] - toll
            coefficients = self.designs[gate].linear(target, self.ridge)
            gain = self.designs[gate].matrix @ coefficients
            worth = np.where(gain > 0, worth - toll, self.reward[:, gate])
            spent = np.where(gain <= 0, self.costs[gate], spent)
            weights.insert(0, coefficients)
        return weights, float(spent.mean())

    def at(self, cost: float) -> list[Array]:
        """Return the weights at the price whose mean cost is ``cost`` (in units of c_K)."""
        low, high = 0.0, 1.0
        if self.solve(low)[1] <= cost:
            return self.solve(low)[0]
        while self.solve(high)[1] > cost and high < HIGHEST_PRICE:
            low, high = high, 2 * high
        for _ in range(PRICE_STEPS):
            price = (low + high) / 2
            low, high = (price, high) if self.solve(price)[1] > cost else (low, price)
        return self.solve(high)[0]


class GainSoft(Policy):
    """Stopping by backward induction on soft labels.

    With ``y_k`` the soft label of exit k, ``p_k`` its ridge logistic regression on the gate's
    features ``phi_k``, and ``V = y_K`` to begin with, for k = K-1..1 the gain of going on at a
    price ``lambda``, ``V - p_k - lambda (c_{k+1} - c_k)``, is ridge-regressed on ``phi_k`` to
    ``b_k``; then ``V`` becomes ``V - lambda (c_{k+1} - c_k)`` where ``phi_k b_k > 0`` and ``y_k``
    elsewhere. lambda is bisected so that leaving where the gain is at most 0 costs the reference
    budget on average. This is least-squares Monte Carlo for optimal stopping (Longstaff and
    Schwartz, "Valuing American Options by Simulation", 2001) with the last exit's calibrated belief
    as its reward. The score is ``-phi_k b_k``. Its thresholds are those that serve each price of
    cost best (:func:`priced_thresholds`), which mends what a linear gain gets wrong at a gate; the
    knob is the price. A gate whose gain is the same for all samples scores by confidence, so that a
    budget above what is worth spending is still met. Worked out and measured for edgeexit.
    """

    name = "gain-soft"
    gates = ("statistics", "confidence")
    needs = ("bias", "log_odds")

    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        names = [name for name in PREDICTORS if name in records.gate.features]
        columns = [records.gate.features.index(name) for name in names]
        reward = targets(records).astype(np.float64)
        designs = tuple(
            Design.of(records.features[:, gate, columns]) for gate in range(len(costs) - 1)
        )
        expected = [
            sigmoid(design.matrix @ design.logistic(reward[:, gate]))
            for gate, design in enumerate(designs)
        ]
        ridge = np.array(
            [CONFIDENCE_RIDGE if name in CONFIDENCE else OTHER_RIDGE for name in names]
        )
        problem = _Problem(designs, np.column_stack(expected), reward, costs / costs[-1], ridge)
        params = []
        for design, weights in zip(designs, problem.at(reference / costs[-1]), strict=True):
            if np.std(design.matrix @ weights) < FLAT:
                params.append(weighed(records, {"log_odds": 1.0}))
                continue
            intercept, slopes = design.raw(-weights)
            params.append(
                weighed(records, {"bias": intercept, **dict(zip(names, slopes, strict=True))})
            )
        scores = gate_scores(records, tuple(params))
        return Shape(tuple(params), priced_thresholds(scores, reward, costs))

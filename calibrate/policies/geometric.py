"""``geometric``: exit fractions in geometric progression, as MSDNet has them."""

from __future__ import annotations

import numpy as np

from edgeexit.calibrate.policies.base import Array, Policy, Shape
from edgeexit.calibrate.policies.confidence import confidence
from edgeexit.calibrate.policies.fractions import fraction_thresholds
from edgeexit.calibrate.records import ExitRecords

RATIOS = np.geomspace(1e-3, 1e3, 97)
"""Values of q, from nearly all at exit 1 to nearly all at exit K."""


class Geometric(Policy):
    """Exit fractions ``eps_k`` proportional to ``q^k``; the knob is q.

    Huang et al., "Multi-Scale Dense Networks for Resource Efficient Image Classification" (2018),
    section 3 and its public code.
    """

    name = "geometric"
    gates = ("statistics", "confidence")
    needs = ("log_odds",)

    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        params, scores = confidence(records)
        exits = np.arange(len(costs))
        weights = np.stack([ratio ** (exits - exits.mean()) for ratio in RATIOS])
        fractions = weights / weights.sum(axis=1, keepdims=True)
        return Shape(params, fraction_thresholds(scores, fractions, costs))

"""``opt``: thresholds on confidence that serve a price of cost best, by hard labels."""

from __future__ import annotations

from edgeexit.calibrate.policies.base import Array, Policy, Shape
from edgeexit.calibrate.policies.confidence import confidence
from edgeexit.calibrate.policies.lagrangian import priced_thresholds
from edgeexit.calibrate.records import ExitRecords


class Opt(Policy):
    """Thresholds on confidence by Lagrangian search over hard labels; the knob is the price.

    The reward of an exit is whether its answer is right (without labels: agrees with the last
    exit). See :func:`priced_thresholds`.
    """

    name = "opt"
    gates = ("statistics", "confidence")
    needs = ("log_odds",)

    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        params, scores = confidence(records)
        reward = records.quality.astype("float64")
        return Shape(params, priced_thresholds(scores, reward, costs))

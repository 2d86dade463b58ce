"""``opt-soft``: thresholds on confidence that serve a price of cost best, by soft labels."""

from __future__ import annotations

from edgeexit.calibrate.policies.base import Array, Policy, Shape
from edgeexit.calibrate.policies.confidence import confidence
from edgeexit.calibrate.policies.lagrangian import priced_thresholds
from edgeexit.calibrate.policies.soft import targets
from edgeexit.calibrate.records import ExitRecords


class OptSoft(Policy):
    """Thresholds on confidence by Lagrangian search over soft labels; the knob is the price.

    The reward of an exit is the last exit's calibrated belief in its answer, which is smoother
    than whether it is right. See :func:`priced_thresholds`.
    """

    name = "opt-soft"
    gates = ("statistics", "confidence")
    needs = ("log_odds",)

    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        params, scores = confidence(records)
        reward = targets(records).astype("float64")
        return Shape(params, priced_thresholds(scores, reward, costs))

"""One number for all gates to compare one criterion with."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edgeexit.calibrate.nesting import gate_scores, shared_rows
from edgeexit.calibrate.policies.base import Array, Policy, Shape, weighed
from edgeexit.calibrate.records import ExitRecords


class SharedThreshold(Policy, ABC):
    """Leave at the first exit whose criterion reaches one number; the knob is the number.

    Attributes:
        weights: Features of the gate that make up the criterion, and their weights: the larger
            the sum, the surer the exit.
    """

    weights: ClassVar[Mapping[str, float]]
    gates: ClassVar[tuple[str, ...]] = ("statistics", "confidence")

    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        params = (weighed(records, dict(self.weights)),) * (records.num_exits - 1)
        return Shape(params, shared_rows(gate_scores(records, params), np.asarray(costs)))

"""``patience``: leave once enough exits in a row agree."""

from __future__ import annotations

import numpy as np

from edgeexit.calibrate.nesting import gate_scores, with_extremes
from edgeexit.calibrate.policies.base import Array, Policy, Shape
from edgeexit.calibrate.records import ExitRecords


class Patience(Policy):
    """The gate's counter against one number for all gates.

    Zhou et al., "BERT Loses Patience: Fast and Robust Inference with Early Exit" (2020). There
    are as many operating points as counts, so a budget takes the nearest one below it.
    """

    name = "patience"
    gates = ("patience",)
    needs = ()
    discrete = True

    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        default = tuple(float(np.float32(value)) for value in records.gate.default_params)
        params = (default,) * (records.num_exits - 1)
        counts = np.unique(gate_scores(records, params)).astype(np.float64)
        steps = ((counts[1:] + counts[:-1]) / 2).astype(np.float32).astype(np.float64)
        return Shape(params, with_extremes(np.repeat(steps[:, None], len(costs) - 1, axis=1)))

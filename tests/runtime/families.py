"""Hand-made exit families for the toy bundle."""

from __future__ import annotations

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable, ExitFamily


def make_family(bundle, *, params=((1.0, 1.0, 0.0),) * 2, thresholds=None, costs=None, **changes):
    """A family whose mean FLOPs cost runs from c_1 to c_3 in three rows."""
    flops = CostTable("flops", bundle.manifest.flops_costs, 1.0)
    return ExitFamily(
        **{
            "policy": "geometric",
            "manifest_digest": bundle.digest,
            "gate": "toy",
            "gate_version": 1,
            "params": params,
            "thresholds": np.array(thresholds or [[0.0, 0.0], [0.5, 0.6], [2.0, 2.0]]),
            "shares": np.array([[1.0, 0, 0], [0.4, 0.3, 0.3], [0, 0, 1.0]]),
            "quality": np.array([0.5, 0.7, 0.8]),
            "quality_kind": "accuracy",
            "per_exit_quality": np.array([0.5, 0.6, 0.8]),
            "discrete": False,
            "costs": costs or {"flops": flops},
            "samples": 100,
            "data_sha256": "0" * 64,
            "budget": Budget(0.7),
            **changes,
        }
    )

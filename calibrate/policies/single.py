"""``single``: leave once the largest probability reaches one number."""

from __future__ import annotations

from types import MappingProxyType

from edgeexit.calibrate.policies.shared import SharedThreshold


class Single(SharedThreshold):
    """The largest softmax probability against one threshold.

    Kaya et al., "Shallow-Deep Networks: Understanding and Mitigating Network Overthinking" (2019),
    section 4. The gate's log-odds of the top class order samples as its probability does.
    """

    name = "single"
    needs = ("log_odds",)
    weights = MappingProxyType({"log_odds": 1.0})

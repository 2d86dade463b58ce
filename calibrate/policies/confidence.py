"""The confidence of the top class, as a score of the compiled gates."""

from __future__ import annotations

from edgeexit.calibrate.nesting import gate_scores
from edgeexit.calibrate.policies.base import Params, weighed
from edgeexit.calibrate.records import ExitRecords, Floats

FEATURE = "log_odds"
"""Orders samples as the largest softmax probability does, without saturating near 1."""


def confidence(records: ExitRecords) -> tuple[Params, Floats]:
    """Return the parameters that make every gate's score its confidence, and ``(n, K-1)`` scores."""
    params = (weighed(records, {FEATURE: 1.0}),) * (records.num_exits - 1)
    return params, gate_scores(records, params)

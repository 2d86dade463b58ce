"""The confidence of the top class, as a score of the compiled gates."""

from __future__ import annotations

from edgeexit.calibrate.nesting import gate_scores
from edgeexit.calibrate.policies.base import Params, weighed
from edgeexit.calibrate.records import ExitRecords, Floats

FEATURE = "log_odds"
"""Orders samples as the largest softmax probability does, without saturating near 1."""


def confidence(records: ExitRecords) -> tuple[Params, Floats]:
    """Return parameters that make each gate's score its confidence, and scores ``(n, K - 1)``."""
    params = (weighed(records, {FEATURE: 1.0}),) * (records.num_exits - 1)
    return params, gate_scores(records, params)

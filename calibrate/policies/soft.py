"""Which labels a policy learns from: the last exit's belief, or the hard ones."""

from __future__ import annotations

import numpy as np

from edgeexit.calibrate.records import ExitRecords, Floats

BINS = 10
"""Bins of equal mass in which the last exit's belief is held against its accuracy."""

TOLERANCE = 0.05
"""Expected calibration error of the last exit up to which its belief is trusted."""

SIGMAS = 2.0
"""Standard errors by which a difference must exceed chance to count."""


def trusts_soft(records: ExitRecords) -> bool:
    """Return whether the last exit's belief may stand in for correctness.

    It may not where the last exit is badly calibrated even after temperature scaling, or where an
    earlier exit is better than the last: its belief then misjudges the better answers. Without
    labels there is nothing to hold it against, and it is trusted.
    """
    if records.quality_kind != "accuracy":
        return True
    truth = records.quality.astype(np.float64)
    lead = truth[:, :-1] - truth[:, -1:]
    noise = lead.std(axis=0) / np.sqrt(len(truth))
    if (lead.mean(axis=0) > SIGMAS * noise).any():
        return False
    belief = records.soft[:, -1].astype(np.float64)
    order = np.argsort(belief, kind="stable")
    gaps = [truth[part, -1] - belief[part] for part in np.array_split(order, BINS) if len(part)]
    shares = np.array([len(gap) for gap in gaps]) / len(belief)
    spread = np.array([gap.std() / np.sqrt(len(gap)) for gap in gaps])
    excess = np.maximum(np.abs([gap.mean() for gap in gaps]) - SIGMAS * spread, 0.0)
    return float(shares @ excess) <= TOLERANCE


def targets(records: ExitRecords) -> Floats:
    """Return what exits are worth, ``(n, K) float32``: soft labels where they can be trusted."""
    return records.soft if trusts_soft(records) else records.quality

"""What one family for all budgets loses, from a sweep: one shape, and one nested knob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeexit.calibrate.sweep import REFITTED, UNNESTED, Sweep

Fitted = Literal["shape", "thresholds"]


@dataclass(frozen=True)
class FamilyLoss:
    """What a fit of its own at every budget would win over the one family that serves all.

    Attributes:
        what: What is fitted anew: ``shape``, or ``thresholds``: a shape and thresholds that need
            not be nested.
        mean: Percentage points of quality won, averaged over the budgets; below 0 the family is
            better.
        most: Points won where most are won, at ``budget``; ``low`` to ``high`` is its 95 % band.
        budget: See ``most``.
        low: See ``most``.
        high: See ``most``.
        sure: Budgets at which chance does not explain what is won.
    """

    what: Fitted
    mean: float
    most: float
    budget: float
    low: float
    high: float
    sure: tuple[float, ...]


def family_losses(found: Sweep) -> tuple[FamilyLoss, ...]:
    """Return what one shape loses, and what one shape and one nested knob lose.

    Empty where the default policy, which is refitted, does not suit the gate.
    """
    pairs: tuple[tuple[Fitted, str], ...] = (("shape", REFITTED), ("thresholds", UNNESTED))
    return tuple(_loss(found, what, name) for what, name in pairs if name in found.points)


def _loss(found: Sweep, what: Fitted, name: str) -> FamilyLoss:
    points = found.points[name]
    most = max(points, key=lambda point: point.lead)
    return FamilyLoss(
        what,
        float(np.mean([point.lead for point in points])),
        most.lead,
        most.budget.value,
        most.lead_low,
        most.lead_high,
        tuple(point.budget.value for point in points if point.lead_low > 0),
    )

"""A dial that knows where on the family's knob it stands, and what calibration saw there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.exits import ExitFamily
from edgeexit.runtime.dial import Dial

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Setting(Dial):
    """One setting of the dial.

    Attributes:
        shares: ``(K,)`` fractions of the calibration samples that leave at each exit here; None
            where nothing is known, as without a budget.
    """

    shares: Array | None = None

    @classmethod
    def of(cls, dial: Dial, family: ExitFamily | None) -> Setting:
        """Return ``dial``, made from ``family``, with the shares that belong to it."""
        shares = None
        if family is not None and dial.budget is not None:
            shares = mixed_shares(family.shares, family.position(dial.budget))
        return cls(**vars(dial), shares=shares)


def mixed_shares(table: Array, position: float) -> Array:
    """Return the shares ``(K,)`` at a position between two rows of ``(M, K)``.

    Between rows they are interpolated, which is exact in the mean cost of counted costs, since a
    position between rows is defined by it.
    """
    row = min(int(position), len(table) - 1)
    upper = table[min(row + 1, len(table) - 1)]
    mixed: Array = table[row] + (position - row) * (upper - table[row])
    return mixed

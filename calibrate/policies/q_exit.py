"""``q-exit``: leave once the model's own halting probabilities add up to one number."""

from __future__ import annotations

from types import MappingProxyType

from edgeexit.calibrate.policies.shared import SharedThreshold


class QExit(SharedThreshold):
    """The probability of having halted so far against one number q for all gates.

    Balagansky and Gavrilov, "PALBERT: Teaching ALBERT to Ponder" (2022): exit at the
    first layer where the distribution function of p reaches q. The gate adds up p.
    """

    name = "q-exit"
    gates = ("q-exit",)
    needs = ("halted",)
    weights = MappingProxyType({"halted": 1.0})

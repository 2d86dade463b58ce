"""``energy``: leave once the energy of the logits is low enough."""

from __future__ import annotations

from types import MappingProxyType

from edgeexit.calibrate.policies.shared import SharedThreshold


class Energy(SharedThreshold):
    """The log of the summed exponentials of the logits against one threshold.

    Liu et al., "Energy-based Out-of-distribution Detection" (2020), equation 4: the free energy is
    its negative, and a low one means a familiar input.
    """

    name = "energy"
    needs = ("energy",)
    weights = MappingProxyType({"energy": 1.0})

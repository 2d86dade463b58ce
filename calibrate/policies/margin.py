"""``margin``: leave once the top class leads the second by enough."""

from __future__ import annotations

from types import MappingProxyType

from edgeexit.calibrate.policies.shared import SharedThreshold


class Margin(SharedThreshold):
    """The largest softmax probability less the second, against one threshold.

    Scheffer et al., "Active Hidden Markov Models for Information Extraction" (2001), as a measure
    of doubt; FREE (Bae et al., 2023) exits by it.
    """

    name = "margin"
    needs = ("margin",)
    weights = MappingProxyType({"margin": 1.0})

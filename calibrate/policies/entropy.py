"""``entropy``: leave once the entropy of the answer is low enough."""

from __future__ import annotations

from types import MappingProxyType

from edgeexit.calibrate.policies.shared import SharedThreshold


class Entropy(SharedThreshold):
    """The entropy of the softmax probabilities against one threshold.

    Teerapittayanon et al., "BranchyNet: Fast Inference via Early Exiting from Deep Neural Networks"
    (2016), section III.
    """

    name = "entropy"
    needs = ("entropy",)
    weights = MappingProxyType({"entropy": -1.0})

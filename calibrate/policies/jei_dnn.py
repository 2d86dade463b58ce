"""``jei-dnn``: leave once the gates that were learned with the exits are sure enough."""

from __future__ import annotations

from types import MappingProxyType

from edgeexit.calibrate.policies.shared import SharedThreshold


class JeiDnn(SharedThreshold):
    """The learned probability of leaving here, given that one is still there, against one number.

    Regol, Chataoui and Coates, "Jointly-Learned Exit and Inference for a Dynamic Neural Network:
    JEI-DNN" (2024). The paper leaves from 0.5 on; here the number is calibrated.
    """

    name = "jei-dnn"
    gates = ("jei-dnn",)
    needs = ("exit_probability",)
    weights = MappingProxyType({"exit_probability": 1.0})

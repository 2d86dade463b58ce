"""The Q-exit gate: how likely it is that the model has halted by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import onnx_ir as ir

from edgeexit.graph.gates.base import Gate, GateContext, StateSpec
from edgeexit.graph.gates.probability import probabilities


class QExitGate(Gate):
    """Adds up the probability of having halted (PALBERT, Balagansky and Gavrilov, 2022).

    The model returns ``halt_k = sigmoid(head_k)``, lambda_k. With p_k = lambda_k prod_{j<k}
    (1 - lambda_j), the probability of halting at exit k:

    1. ``halted``: sum_{j<=k} p_j, non-decreasing from exit to exit.

    It carries the product, ``(batch, 1) float32``, and the sum likewise: one less the product is
    the same number, but has no digits left where the lambdas are small.
    """

    name: ClassVar[str] = "q-exit"
    features: ClassVar[tuple[str, ...]] = ("halted",)
    default_weights: ClassVar[tuple[float, ...]] = (1.0,)
    compares_exits: ClassVar[bool] = False
    reads: ClassVar[str | None] = "halt"

    def state(self, number: int) -> Mapping[str, StateSpec]:
        """The survival product and the sum up to exit ``number``."""
        return {"survival": StateSpec("float32", 1), "halted": StateSpec("float32", 1)}

    def build(self, context: GateContext) -> tuple[list[ir.Value], Mapping[str, ir.Value]]:
        """Append the product and the sum."""
        op = context.build.op
        halt, stay = probabilities(context)
        if not context.state:
            return [halt], {"survival": stay, "halted": halt}
        before = context.state["survival"]
        halted = op("Add", context.state["halted"], op("Mul", halt, before))
        return [halted], {"survival": op("Mul", before, stay), "halted": halted}

    def flops(self, classes: int) -> int:
        """Return the operations for one sample."""
        return 4 * classes + 14

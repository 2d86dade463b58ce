"""The gate of JEI-DNN: how likely it is to leave here, once one is here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import onnx_ir as ir

from edgeexit.graph.gates.base import Gate, GateContext, StateSpec
from edgeexit.graph.gates.probability import probabilities

_SMALLEST = 1e-30
"""Keeps a quotient finite; a survival product that small has no share left to give."""


class JeiDnnGate(Gate):
    """The learned gate of JEI-DNN (Regol, Chataoui and Coates, 2024).

    The model returns ``gate_k = sigmoid(gate head of exit k)``, g_k. The probability of leaving at
    exit k is P_k = max(0, min(g_k, 1 - sum_{j<k} g_j)):

    1. ``exit_probability``: P_k / prod_{j<k} (1 - P_j), in [0, 1]; the paper leaves from 0.5 on.

    It carries 1 - sum g and the product, ``(batch, 1) float32`` each. Behind an exit where that
    was 1 but for rounding, what is left is rounding.
    """

    name: ClassVar[str] = "jei-dnn"
    features: ClassVar[tuple[str, ...]] = ("exit_probability",)
    default_weights: ClassVar[tuple[float, ...]] = (1.0,)
    compares_exits: ClassVar[bool] = False
    reads: ClassVar[str | None] = "gate"

    def state(self, number: int) -> Mapping[str, StateSpec]:
        """What the gates up to exit ``number`` leave, and the survival product."""
        return {"left": StateSpec("float32", 1), "survival": StateSpec("float32", 1)}

    def build(self, context: GateContext) -> tuple[list[ir.Value], Mapping[str, ir.Value]]:
        """Append the sum, the product and their quotient."""
        op, constant = context.build.op, context.build.constant
        gate, rest = probabilities(context)
        if not context.state:
            return [gate], {"left": rest, "survival": rest}
        left, survival = context.state["left"], context.state["survival"]
        nothing, one = constant(0.0, "float32"), constant(1.0, "float32")
        leave = op("Max", op("Min", gate, left), nothing)
        # 1 - leave, with the digits that rest has where the gate is nearly 1.
        stay = op("Min", op("Max", rest, op("Sub", one, left)), one)
        score = op("Div", leave, op("Max", survival, constant(_SMALLEST, "float32")))
        # Engines may drop a NaN in Min and Max.
        score = op("Add", score, op("Mul", gate, nothing))
        return [score], {"left": op("Sub", left, gate), "survival": op("Mul", survival, stay)}

    def flops(self, classes: int) -> int:
        """Return the operations for one sample."""
        return 4 * classes + 19

"""The patience gate: how many exits in a row gave the same label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import onnx_ir as ir

from edgeexit.graph.gates.base import Gate, GateContext, StateSpec


class PatienceGate(Gate):
    """Counts consecutive agreements (PABEE, Zhou et al. 2020).

    1. ``agreements``: 0 at exit 1; the previous count plus 1 where this exit repeats the previous
       exit's label, else 0.

    It carries the count, ``(batch, 1) float32``, and the label, ``(batch, 1) int32``.
    """

    name: ClassVar[str] = "patience"
    features: ClassVar[tuple[str, ...]] = ("agreements",)
    default_weights: ClassVar[tuple[float, ...]] = (1.0,)
    compares_exits: ClassVar[bool] = True

    def state(self, number: int) -> Mapping[str, StateSpec]:
        """The count and the label of exit ``number``."""
        return {"agreements": StateSpec("float32", 1), "label": StateSpec("int32", 1)}

    def build(self, context: GateContext) -> tuple[list[ir.Value], Mapping[str, ir.Value]]:
        """Append the counter."""
        op, constant = context.build.op, context.build.constant
        scaled = op("Mul", context.logits, context.inverse_temperature)
        argmax = op("ArgMax", scaled, axis=1, keepdims=1)
        label = op("Cast", argmax, to=int(ir.DataType.INT32))
        # Zero, but NaN where a logit is NaN or infinite: such a row never leaves early.
        zero = op(
            "Mul",
            op("ReduceSum", scaled, constant([1], "int64"), keepdims=1),
            constant(0.0, "float32"),
        )
        if not context.state:
            return [zero], {"agreements": zero, "label": label}
        same = op("Cast", op("Equal", context.state["label"], label), to=int(ir.DataType.FLOAT))
        counted = op("Add", context.state["agreements"], constant(1.0, "float32"))
        agreements = op("Add", op("Mul", same, counted), zero)
        return [agreements], {"agreements": agreements, "label": label}

    def flops(self, classes: int) -> int:
        """Return the operations for one sample."""
        return 3 * classes + 4

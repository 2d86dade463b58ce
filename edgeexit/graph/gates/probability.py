"""The probability that a model returns for an exit's gate, in float32."""

from __future__ import annotations

import onnx_ir as ir

from edgeexit.errors import ModelError
from edgeexit.graph.gates.base import GateContext

_FLOOR = -1e4
"""Logits below this are as good as minus infinity."""


def probabilities(context: GateContext) -> tuple[ir.Value, ir.Value]:
    """Return the sigmoid of what the model gives to this gate, and one less it, ``(batch, 1)``.

    Both are NaN where a logit or the given value is: such a row never leaves. They are written out
    since ONNX Runtime's Sigmoid errs by 2e-8, a tenth of a probability of 2e-7; where the
    exponential overflows, its reciprocal is the 0 it should be.

    Raises:
        ModelError: The model gives nothing.
    """
    if context.given is None:
        raise ModelError(
            "the gate reads a tensor beside the logits, and the model returns none.",
            hint="choose --gate statistics.",
            code="model.gate-input",
        )
    op, constant = context.build.op, context.build.constant
    one = constant(1.0, "float32")
    scaled = op("Mul", context.logits, context.inverse_temperature)
    # A class masked with -inf is no fault; a NaN passes the comparison and stays.
    floor = constant(_FLOOR, "float32")
    masked = op("Where", op("Less", scaled, floor), floor, scaled)
    total = op("ReduceSum", masked, constant([1], "int64"), keepdims=1)
    # Added behind the exponentials: OpenVINO's makes a number of a NaN.
    zero = op("Mul", op("Add", total, context.given), constant(0.0, "float32"))
    yes = op("Div", one, op("Add", one, op("Exp", op("Neg", context.given))))
    no = op("Div", one, op("Add", one, op("Exp", context.given)))
    return op("Add", yes, zero), op("Add", no, zero)

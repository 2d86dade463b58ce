"""The default gate: ten statistics of the logits, and the six of them that need no other exit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import onnx_ir as ir

from edgeexit.graph.gates.base import Gate, GateContext, StateSpec

_CLIP = 30.0
"""Log-odds beyond this are equal: float32 holds no probability closer to 1 than 6e-8."""

_SCALE = 1.0 / 3.0
"""Brings log-odds to about the range of the other features, so one ridge suits all."""

_FLOOR = -1e4
"""Log-probabilities below this are as good as minus infinity."""

_LOGIT_FEATURES = ("bias", "log_odds", "log_odds_squared", "margin", "entropy", "energy")
_EXIT_FEATURES = (
    "agree_previous",
    "previous_log_odds",
    "agree_log_odds",
    "agree_fraction",
)


class ConfidenceGate(Gate):
    """Statistics of one exit's logits; exits may have different classes.

    With ``z = logits * inverse_temperature`` and ``p = softmax(z)``:

    1. ``bias``: 1.
    2. ``log_odds``: ``(z_top - logsumexp(z_rest)) / 3``, clipped to +-10. This form stays finite
       where ``log(p / (1 - p))`` is infinite or NaN.
    3. ``log_odds_squared``.
    4. ``margin``: ``p_top - p_second``.
    5. ``entropy``: ``-sum p log p / log C``.
    6. ``energy``: ``logsumexp(z)``.
    """

    name: ClassVar[str] = "confidence"
    features: ClassVar[tuple[str, ...]] = _LOGIT_FEATURES
    default_weights: ClassVar[tuple[float, ...]] = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    compares_exits: ClassVar[bool] = False

    def state(self, number: int) -> Mapping[str, StateSpec]:
        """Nothing is carried."""
        return {}

    def build(self, context: GateContext) -> tuple[list[ir.Value], Mapping[str, ir.Value]]:
        """Append the six features.

        With ``s`` the second largest of ``z``, ``sum_i exp(min(z_i - s, 0)) - 1`` is the sum over
        all but the top, relative to ``s``: it is at least 1, so nothing cancels, and no mask is
        needed. Few nodes matter more than few operations here: on a small model every node of a
        gate costs microseconds.
        """
        op, constant = context.build.op, context.build.constant
        last, one = constant([1], "int64"), constant(1.0, "float32")
        z = op("Mul", context.logits, context.inverse_temperature)
        top, second, label = _top_two(context, z)
        below = op("Exp", op("Min", op("Sub", z, second), constant(0.0, "float32")))
        rest = op("Sub", op("ReduceSum", below, last, keepdims=1), one)
        gap = op("Sub", top, second)
        raw_log_odds = op("Sub", gap, op("Log", rest))
        clipped = op("Clip", raw_log_odds, constant(-_CLIP, "float32"), constant(_CLIP, "float32"))
        log_odds = op("Mul", clipped, constant(_SCALE, "float32"))
        # For a top far below the rest's sum the exponential is at most C - 1: no overflow.
        total = op("Add", op("Exp", op("Neg", raw_log_odds)), one)
        energy = op("Add", top, op("Log", total))
        margin = op("Div", op("Sub", one, op("Exp", op("Neg", gap))), total)
        # Classes masked with -inf would give 0 * inf; a NaN passes the comparison and stays.
        log_p, floor = op("Sub", z, energy), constant(_FLOOR, "float32")
        log_p = op("Where", op("Less", log_p, floor), floor, log_p)
        p_log_p = op("ReduceSum", op("Mul", op("Exp", log_p), log_p), last, keepdims=1)
        entropy = op("Mul", p_log_p, constant(-1.0 / math.log(context.classes), "float32"))
        # Made from the logits so that it has their batch axis, and NaN where they have NaN.
        bias = op("Add", op("Mul", p_log_p, constant(0.0, "float32")), one)
        features = [bias, log_odds, op("Mul", log_odds, log_odds), margin, entropy, energy]
        return features, {"label": label}

    def flops(self, classes: int) -> int:
        """Return the operations for one sample: about twelve passes over the logits."""
        return 12 * classes + 30


def _top_two(context: GateContext, z: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return the largest and the second largest of ``z``, ``(batch, 1)``, and the top's class."""
    op, constant = context.build.op, context.build.constant
    values, classes = context.build.ops("TopK", z, constant([2], "int64"), outputs=2, axis=1)
    first, second, end = (constant([number], "int64") for number in (0, 1, 2))
    axis = second
    top = op("Slice", values, first, second, axis)
    runner_up = op("Slice", values, second, end, axis)
    return top, runner_up, op("Slice", classes, first, second, axis)


class StatisticsGate(ConfidenceGate):
    """The six features of :class:`ConfidenceGate` and four that look at the exits before.

    7. ``agree_previous``: 1 where the previous exit gave the same label.
    8. ``previous_log_odds``: feature 2 of the previous exit.
    9. ``agree_log_odds``: feature 7 times feature 2.
    10. ``agree_fraction``: the share of all earlier exits that gave this exit's label.

    At exit 1 the last four are 0. The gate carries the labels so far, ``(batch, k) int32``, and
    its log-odds, ``(batch, 1) float32``.
    """

    name: ClassVar[str] = "statistics"
    features: ClassVar[tuple[str, ...]] = _LOGIT_FEATURES + _EXIT_FEATURES
    default_weights: ClassVar[tuple[float, ...]] = ConfidenceGate.default_weights + (0.0,) * 4
    compares_exits: ClassVar[bool] = True

    def state(self, number: int) -> Mapping[str, StateSpec]:
        """Labels of exits 1 to ``number``, and the log-odds of exit ``number``."""
        return {"labels": StateSpec("int32", number), "log_odds": StateSpec("float32", 1)}

    def build(self, context: GateContext) -> tuple[list[ir.Value], Mapping[str, ir.Value]]:
        """Append the ten features and the state."""
        op, constant = context.build.op, context.build.constant
        features, extra = super().build(context)
        log_odds = features[1]
        label = op("Cast", extra["label"], to=int(ir.DataType.INT32))
        if not context.state:
            zero = op("Mul", features[0], constant(0.0, "float32"))
            return [*features, zero, zero, zero, zero], {"labels": label, "log_odds": log_odds}
        earlier, previous_log_odds = context.state["labels"], context.state["log_odds"]
        same = op("Cast", op("Equal", earlier, label), to=int(ir.DataType.FLOAT))
        axis = constant([1], "int64")
        agree = op("Slice", same, constant([-1], "int64"), constant([2**31 - 1], "int64"), axis)
        fraction = op("ReduceMean", same, axis, keepdims=1)
        features += [agree, previous_log_odds, op("Mul", agree, log_odds), fraction]
        labels = op("Concat", earlier, label, axis=1)
        return features, {"labels": labels, "log_odds": log_odds}

    def flops(self, classes: int) -> int:
        """Return the operations for one sample."""
        return super().flops(classes) + 20

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
"""Logits below this are as good as minus infinity."""

_MASKED = -1e30
"""Takes the top class out of a sum of exponentials."""

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
        """Append the six features."""
        op, constant = context.build.op, context.build.constant
        last = constant([1], "int64")
        scaled = op("Mul", context.logits, context.inverse_temperature)
        # Classes masked with -inf would give 0 * inf; a NaN passes the comparison and stays.
        floor = constant(_FLOOR, "float32")
        z = op("Where", op("Less", scaled, floor), floor, scaled)
        label = op("ArgMax", z, axis=1, keepdims=1)
        classes = constant(list(range(context.classes)), "int64")
        is_top = op("Equal", label, classes)
        top = op("ReduceMax", z, last, keepdims=1)
        rest = op("Where", is_top, constant(_MASKED, "float32"), z)
        second = op("ReduceMax", rest, last, keepdims=1)
        spread = op("ReduceSum", op("Exp", op("Sub", rest, second)), last, keepdims=1)
        log_rest = op("Add", second, op("Log", spread))
        raw_log_odds = op("Sub", top, log_rest)
        clipped = op("Clip", raw_log_odds, constant(-_CLIP, "float32"), constant(_CLIP, "float32"))
        log_odds = op("Mul", clipped, constant(_SCALE, "float32"))
        one_plus = op("Add", op("Exp", op("Neg", raw_log_odds)), constant(1.0, "float32"))
        # For a top far below the rest's sum the exponential is at most C - 1: no overflow.
        energy = op("Add", top, op("Log", one_plus))
        log_p = op("Sub", z, energy)
        p = op("Exp", log_p)
        p_top, p_second = (op("Exp", op("Sub", value, energy)) for value in (top, second))
        margin = op("Sub", p_top, p_second)
        negative_entropy = op("ReduceSum", op("Mul", p, log_p), last, keepdims=1)
        entropy = op("Mul", negative_entropy, constant(-1.0 / math.log(context.classes), "float32"))
        # Made from the logits so that it has their batch axis, and NaN where they have NaN.
        bias = op("Add", op("Mul", top, constant(0.0, "float32")), constant(1.0, "float32"))
        features = [bias, log_odds, op("Mul", log_odds, log_odds), margin, entropy, energy]
        return features, {"label": label}

    def flops(self, classes: int) -> int:
        """Return the operations for one sample: about twelve passes over the logits."""
        return 12 * classes + 30


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

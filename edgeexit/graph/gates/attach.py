"""Appends a gate to every stage but the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeexit.bundle.specs import BATCH, GateSpec, TensorSpec
from edgeexit.errors import ModelError
from edgeexit.graph.gate_inputs import find_given
from edgeexit.graph.gates.base import PREFIX, Gate, GateContext, GraphBuilder

_PARAMS = f"{PREFIX}gate_params"
_SCORE = f"{PREFIX}score"
_FEATURES = f"{PREFIX}features"


@dataclass(frozen=True)
class AttachedGate:
    """A gate in its place.

    Attributes:
        spec: What the manifest says of it.
        state_in: What the previous gate carried to it.
        state_out: What it carries to the next gate; empty before the last stage, which has none.
    """

    spec: GateSpec
    state_in: tuple[TensorSpec, ...]
    state_out: tuple[TensorSpec, ...]


def attach_gates(
    stages: Sequence[ir.Model], logits: Sequence[TensorSpec], gate: Gate
) -> tuple[AttachedGate, ...]:
    """Append the gate to all stages but the last, in place.

    Args:
        stages: The K stage models.
        logits: The K exits' logits, ``(batch, classes)``.
        gate: The gate to append.

    Returns:
        One gate a stage, K - 1 of them.

    Raises:
        ModelError: The gate compares exits, and these have differing classes.
    """
    classes = [spec.shape[-1] for spec in logits]
    if gate.compares_exits and len(set(classes)) > 1:
        raise ModelError(
            f"gate {gate.name!r} compares exits, but these have {classes} classes.",
            hint="use --gate confidence, which looks at each exit alone.",
            code="model.gate-classes",
        )
    attached: list[AttachedGate] = []
    state_in: tuple[TensorSpec, ...] = ()
    for number, (model, spec) in enumerate(zip(stages[:-1], logits, strict=False), start=1):
        carries = number < len(stages) - 1
        attached.append(_attach(model, spec, gate, number, state_in, carries=carries))
        state_in = attached[-1].state_out
    return tuple(attached)


def _attach(
    model: ir.Model,
    logits: TensorSpec,
    gate: Gate,
    number: int,
    state_in: tuple[TensorSpec, ...],
    *,
    carries: bool,
) -> AttachedGate:
    graph = model.graph
    build = GraphBuilder(graph, f"{PREFIX}gate.")
    params = TensorSpec(_PARAMS, "float32", (1 + len(gate.features),), None, 0)
    fed = {spec.name: _declare(spec) for spec in (*state_in, params)}
    graph.inputs.extend(fed.values())
    output = next(value for value in graph.outputs if value.name == logits.name)
    context = GateContext(
        build,
        build.op("Cast", output, to=int(ir.DataType.FLOAT)),
        _class_count(logits),
        _slice(build, fed[_PARAMS], 0, 1),
        {spec.name.rsplit(".", 1)[-1]: fed[spec.name] for spec in state_in},
        None if gate.reads is None else _given(build, graph, logits),
    )
    columns, state = gate.build(context)
    features = build.op("Concat", *columns, name=_FEATURES, axis=1)
    weights = _slice(build, fed[_PARAMS], 1, 1 + len(gate.features))
    weighed = build.op("Mul", features, weights)
    score = build.op("ReduceSum", weighed, build.constant([1], "int64"), name=_SCORE, keepdims=0)
    _publish(graph, score, TensorSpec(_SCORE, "float32", (BATCH,)))
    _publish(graph, features, TensorSpec(_FEATURES, "float32", (BATCH, len(gate.features))))
    state_out = []
    for name, carried in gate.state(number).items() if carries else ():
        tail = () if carried.width is None else (carried.width,)
        spec = TensorSpec(f"{PREFIX}state_{number}.{name}", carried.dtype, (BATCH, *tail))
        _publish(graph, build.op("Identity", state[name], name=spec.name), spec)
        state_out.append(spec)
    return AttachedGate(
        GateSpec(
            name=gate.name,
            version=gate.version,
            params=params,
            default_params=(1.0, *gate.default_weights),
            features=gate.features,
            score=_SCORE,
            features_output=_FEATURES,
            state=tuple(spec.name for spec in state_out),
            flops=gate.flops(_class_count(logits)),
        ),
        state_in,
        tuple(state_out),
    )


def _given(build: GraphBuilder, graph: ir.Graph, logits: TensorSpec) -> ir.Value:
    """Return what the model gives to the gate, as ``(batch, 1) float32``."""
    value = build.op("Cast", find_given(graph, logits.name), to=int(ir.DataType.FLOAT))
    return build.op("Reshape", value, build.constant([-1, 1], "int64"))


def _class_count(logits: TensorSpec) -> int:
    classes = logits.shape[-1]
    if not isinstance(classes, int) or classes < 2:
        raise ModelError(
            f"exit {logits.name!r} has shape {logits.shape}: its classes must be a fixed number, "
            "2 or more.",
            hint="export the model with logits of shape (batch, classes).",
            code="model.classes",
        )
    return classes


def _slice(build: GraphBuilder, params: ir.Value, start: int, end: int) -> ir.Value:
    return build.op(
        "Slice", params, build.constant([start], "int64"), build.constant([end], "int64")
    )


def _declare(spec: TensorSpec) -> ir.Value:
    value = ir.Value(name=spec.name)
    _describe(value, spec)
    return value


def _publish(graph: ir.Graph, value: ir.Value, spec: TensorSpec) -> None:
    _describe(value, spec)
    graph.outputs.append(value)


def _describe(value: ir.Value, spec: TensorSpec) -> None:
    value.type = ir.TensorType(ir.DataType[_ONNX_NAMES[spec.dtype]])
    value.shape = ir.Shape(list(spec.shape))


_ONNX_NAMES = {"float32": "FLOAT", "int32": "INT32"}

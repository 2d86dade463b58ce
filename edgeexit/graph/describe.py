"""What the manifest says of sliced stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx_ir as ir

from edgeexit.bundle.specs import ExitSpec, StageSpec, TensorSpec
from edgeexit.graph.axes import MeasuredAxes
from edgeexit.graph.cost import count_params
from edgeexit.graph.gates.attach import AttachedGate
from edgeexit.graph.origins import is_constant
from edgeexit.graph.partition import StagePlan


def declare_shapes(stages: Sequence[ir.Model], axes: MeasuredAxes) -> None:
    """Write the measured shapes into the stages' inputs and outputs."""
    for stage in stages:
        for value in (*stage.graph.inputs, *stage.graph.outputs):
            if (spec := axes.specs.get(value.name or "")) is not None:
                value.shape = ir.Shape(list(spec.shape))


def stage_specs(
    plans: Sequence[StagePlan],
    axes: MeasuredAxes,
    attached: Sequence[AttachedGate],
    inputs: Sequence[TensorSpec],
    flops: Mapping[str, int],
) -> Iterator[StageSpec]:
    """Describe each stage: the graph's boundary and the gates' state together."""
    by_name = {spec.name: spec for spec in inputs}
    held: list[ir.Node] = []
    for index, plan in enumerate(plans):
        gate = attached[index] if index < len(attached) else None
        state_in = attached[index - 1].state_out if index else ()
        logits = axes.specs[plan.exit.name or ""]
        carried_out = tuple(axes.specs[v.name or ""] for v in plan.carried_out)
        before = count_params(initializers_of(held))
        held.extend(plan.owned)
        yield StageSpec(
            number=plan.number,
            file=f"graphs/stage-{plan.number}.onnx",
            inputs=tuple(by_name[v.name or ""] for v in plan.inputs),
            carried_in=tuple(axes.specs[v.name or ""] for v in plan.carried_in) + state_in,
            carried_out=carried_out + (gate.state_out if gate else ()),
            exit=ExitSpec(plan.exit.name or "", (logits,)),
            gate=gate.spec if gate else None,
            flops=sum(flops.get(node.name or "", 0) for node in plan.owned),
            params=count_params(initializers_of(held)) - before,
        )


def ancestors(value: ir.Value) -> list[ir.Node]:
    """Return every node that a value depends on."""
    seen: dict[ir.Node, None] = {}
    pending = [value]
    while pending:
        node = pending.pop().producer()
        if node is not None and node not in seen:
            seen[node] = None
            pending.extend(v for v in node.inputs if v is not None)
    return list(seen)


def initializers_of(nodes: Iterable[ir.Node]) -> list[ir.Value]:
    """Return the initializers that nodes read, each once."""
    read = {value: None for node in nodes for value in node.inputs if value is not None}
    return [value for value in read if is_constant(value)]

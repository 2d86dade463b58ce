"""Stage plans in, ONNX models out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgeexit.graph.origins import is_constant
from edgeexit.graph.partition import StagePlan

ShapeSources = Mapping[ir.Node, Sequence[int | tuple[ir.Value, int]]]


def build_stage(model: ir.Model, plan: StagePlan) -> ir.Model:
    """Return the model of one stage; its weights are the source model's tensors, not copies.

    Inputs are the plan's model inputs and carried values, outputs its carried values and logits.
    """
    run = set(plan.owned) | plan.rebuilt
    outputs = [*plan.carried_out, *([] if plan.exit in plan.carried_out else [plan.exit])]
    return _extract(
        model,
        [node for node in model.graph if node in run],
        [*plan.inputs, *plan.carried_in],
        outputs,
        plan.shape_sources,
        f"stage-{plan.number}",
    )


def build_whole(model: ir.Model, outputs: Sequence[ir.Value], name: str) -> ir.Model:
    """Return the part of a model that the given outputs need, as a model of its own."""
    needed: set[ir.Node] = set()
    pending = list(outputs)
    while pending:
        node = pending.pop().producer()
        if node is not None and node not in needed:
            needed.add(node)
            pending.extend(v for v in node.inputs if v is not None)
    nodes = [node for node in model.graph if node in needed]
    read = {value for node in nodes for value in node.inputs}
    inputs = [value for value in model.graph.inputs if value in read]
    return _extract(model, nodes, inputs, outputs, {}, name)


def _extract(
    model: ir.Model,
    nodes: Iterable[ir.Node],
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    shape_sources: ShapeSources,
    name: str,
) -> ir.Model:
    """Copy nodes into a model of their own."""
    values = {value: _declare(value) for value in inputs}
    initializers: list[ir.Value] = []
    copies: list[ir.Node] = []
    for node in nodes:
        for value in node.inputs:
            if value is not None and value not in values and is_constant(value):
                values[value] = _declare(value)
                initializers.append(values[value])
        if node in shape_sources:
            copies.extend(_rebuild_shape(node, shape_sources[node], values))
        else:
            copies.append(_copy_node(node, values))
    for value in outputs:
        values[value].shape, values[value].type = value.shape, value.type
    graph = ir.Graph(
        [values[value] for value in inputs],
        [values[value] for value in outputs],
        nodes=copies,
        initializers=initializers,
        opset_imports=dict(model.graph.opset_imports),
        name=name,
    )
    return ir.Model(graph, ir_version=model.ir_version, producer_name="edgeexit")


def _declare(value: ir.Value) -> ir.Value:
    return ir.Value(
        name=value.name, shape=value.shape, type=value.type, const_value=value.const_value
    )


def _copy_node(node: ir.Node, values: dict[ir.Value, ir.Value]) -> ir.Node:
    copy = ir.Node(
        node.domain,
        node.op_type,
        [None if value is None else values[value] for value in node.inputs],
        node.attributes.values(),
        outputs=[ir.Value(name=value.name) for value in node.outputs],
        version=node.version,
        name=node.name,
    )
    values.update(zip(node.outputs, copy.outputs, strict=True))
    return copy


def _rebuild_shape(
    node: ir.Node, axes: Sequence[int | tuple[ir.Value, int]], values: dict[ir.Value, ir.Value]
) -> list[ir.Node]:
    """Return nodes that compute the output of a Shape node from the given sizes.

    Opset 15 gave Shape a ``start`` and an ``end``; both cut the list of axes.
    """
    start = node.attributes["start"].as_int() if "start" in node.attributes else None
    end = node.attributes["end"].as_int() if "end" in node.attributes else None
    built: list[ir.Node] = []
    pieces: list[ir.Value] = []
    for index, size in enumerate(list(axes)[start:end]):
        prefix = f"{node.outputs[0].name}.axis_{index}"
        if isinstance(size, int):
            number = ir.tensor(np.array([size], dtype=np.int64))
            built.append(_node("Constant", [], prefix, [ir.AttrTensor("value", number)]))
        else:
            source, axis = size
            shape = _node("Shape", [values[source]], f"{prefix}.shape")
            position = ir.tensor(np.array([axis], dtype=np.int64))
            constant = _node("Constant", [], f"{prefix}.at", [ir.AttrTensor("value", position)])
            gather = _node("Gather", [shape.outputs[0], constant.outputs[0]], prefix)
            built += [shape, constant, gather]
        pieces.append(built[-1].outputs[0])
    name = node.outputs[0].name or ""
    concat = _node("Concat", pieces, name, [ir.AttrInt64("axis", 0)])
    values[node.outputs[0]] = concat.outputs[0]
    return [*built, concat]


def _node(
    op_type: str, inputs: Sequence[ir.Value], output: str, attributes: Sequence[ir.Attr] = ()
) -> ir.Node:
    return ir.Node(
        "", op_type, inputs, attributes, outputs=[ir.Value(name=output)], name=f"node.{output}"
    )

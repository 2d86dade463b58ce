"""Any multi-exit ONNX model in, one plain graph whose outputs are its exits' logits out."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common
from onnx_ir.passes.common.naming import NameGenerator

from edgeexit.errors import ModelError
from edgeexit.graph.exits import check_exit, choose_exits, logits_of
from edgeexit.graph.folding import fold_constants
from edgeexit.graph.gate_inputs import exit_values, give_to_exits, take_gate_inputs
from edgeexit.graph.shapes import infer_shapes, name_symbols

OLDEST_OPSET = 13
"""Softmax and per-channel QuantizeLinear got their present meaning in opset 13."""


class _OperationNames(NameGenerator):
    """Names nodes without a name after their operation, so that patterns can speak of them."""

    def generate_node_name(self, node: ir.Node) -> str:
        return node.name or node.op_type

    def generate_value_name(self, value: ir.Value) -> str:
        return value.name or "value"


_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def normalize(
    model: ir.Model, exits: Sequence[str] | None = None, reads: str | None = None
) -> ir.Model:
    """Bring a multi-exit model into the form that the rest of the compiler reads.

    Afterwards the graph's outputs are the exits' logits in order, each named as its exit; there
    are no functions, no Constant, Identity or Dropout nodes and nothing that no exit needs; nodes
    are sorted, nodes and values have unique names, values have a dtype and, where known, a shape;
    the batch axis of the inputs is ``batch`` where it is dynamic.

    Args:
        model: Changed in place. Its weights stay where they are, in memory or in a file.
        exits: Names of the exits' tensors in order; all outputs in order if None.
        reads: What the tensors beside the logits are named that the gate reads; the others, or all
            if None, are dropped. See :mod:`~edgeexit.graph.gate_inputs`.

    Returns:
        The same model.

    Raises:
        ModelError: The exits are not what they should be, or the graph cannot be cut: control
            flow, an old opset, exits that hold no logits ``(batch, classes)``.
    """
    _check_opset(model)
    _make_plain(model)
    _take_exits(model.graph, exits, reads)
    remove_unused(model)
    refuse_control_flow(model.graph)
    remove_dropout(model.graph)
    common.IdentityEliminationPass()(model)
    common.TopologicalSortPass()(model)
    fold_constants(model)
    remove_unused(model)
    give_names(model)
    for value in exit_values(model.graph):
        check_exit(value)
    return model


def give_names(model: ir.Model) -> None:
    """Give every node and value a name of its own; those that have one keep it."""
    common.NameFixPass(_OperationNames())(model)


def _check_opset(model: ir.Model) -> None:
    version = model.graph.opset_imports.get("", OLDEST_OPSET)
    if version < OLDEST_OPSET:
        raise ModelError(
            f"the model uses ONNX opset {version}; edgeexit reads {OLDEST_OPSET} and later.",
            hint="export it again with opset_version=20, or convert it with "
            "onnx.version_converter.convert_version(model, 20).",
            code="model.opset",
        )


def _make_plain(model: ir.Model) -> None:
    """Inline functions, turn Constant nodes into initializers, name dynamic axes."""
    common.InlinePass()(model)
    common.RemoveInitializersFromInputsPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    give_names(model)
    name_symbols(model)
    infer_shapes(model)


def _take_exits(graph: ir.Graph, names: Sequence[str] | None, reads: str | None) -> None:
    """Make the exits' logits the outputs of the graph, named as the exits.

    1. A chosen output keeps its name, and so do the logits behind its final softmax.
    2. Exits cut out of one stacked output are named ``exit_1``, ``exit_2``, …
    3. Two exits with the same logits are refused.
    4. Tensors for gates are no exits; those that the gate reads follow the exits.
    """
    given = take_gate_inputs(graph)
    returned = [str(value.name) for value in graph.outputs]
    chosen = choose_exits(graph, names)
    stacked = names is None and len(graph.outputs) == 1
    exits = {
        f"exit_{number}" if stacked else str(value.name): logits_of(value)
        for number, value in enumerate(chosen, start=1)
    }
    if len(set(exits.values())) < len(exits):
        raise ModelError(
            f"two of the exits {', '.join(exits)} have the same logits (one may be the softmax "
            "of the other).",
            hint="name each exit once with --exits.",
            code="model.duplicate-exit",
        )
    graph.outputs.clear()
    others = {str(value.name): value for node in graph for value in node.outputs}
    others |= dict(graph.initializers) | {str(value.name): value for value in graph.inputs}
    for name, logits in exits.items():
        holder = others.get(name)
        if holder is not None and holder is not logits:
            holder.name = f"{name}.before_exit"
    for name, logits in exits.items():
        logits.name = name
        graph.outputs.append(logits)
    if reads is not None:
        all_exits = returned if set(exits) <= set(returned) else list(exits)
        give_to_exits(graph, given, reads, all_exits, list(exits))


def remove_unused(model: ir.Model) -> None:
    """Drop what no exit needs, initializers and model inputs included."""
    common.RemoveUnusedNodesPass()(model)
    for value in list(model.graph.inputs):
        if not value.uses() and not value.is_graph_output():
            model.graph.inputs.remove(value)


def refuse_control_flow(graph: ir.Graph) -> None:
    """Raise if a node holds a subgraph: what it runs is decided by the data.

    Raises:
        ModelError: The graph has an If, Loop, Scan or SequenceMap node.
    """
    for node in graph:
        if node.op_type in _CONTROL_FLOW and node.domain in ("", "ai.onnx"):
            raise ModelError(
                f"node {node.name!r} is an {node.op_type}, so the data decide what it runs; "
                "edgeexit decides between stages and needs straight code inside them.",
                hint="let forward compute all exits without leaving early (return all logits), "
                "and export it again.",
                code="model.control-flow",
            )


def remove_dropout(graph: ir.Graph) -> None:
    """Bypass Dropout nodes, which do nothing at inference.

    Raises:
        ModelError: A Dropout node is exported in training mode.
    """
    for node in list(graph):
        if node.op_type != "Dropout" or node.inputs[0] is None:
            continue
        mode = node.inputs[2] if len(node.inputs) > 2 else None
        if mode is not None and (mode.const_value is None or mode.const_value.numpy().any()):
            raise ModelError(
                f"node {node.name!r} drops values at random: the model was exported in training "
                "mode.",
                hint="call model.eval() and export it again.",
                code="model.training-mode",
            )
        if len(node.outputs) > 1 and node.outputs[1].uses():
            continue
        output, source = node.outputs[0], node.inputs[0]
        if output.is_graph_output():
            identity = ir.node("Identity", [source], name=f"{node.name}.identity")
            identity.outputs[0].shape, identity.outputs[0].type = output.shape, output.type
            graph.insert_before(node, identity)
            source = identity.outputs[0]
            source.name, output.name = output.name, f"{output.name}.dropped"
        output.replace_all_uses_with(source, replace_graph_outputs=True)
        graph.remove(node, safe=True)

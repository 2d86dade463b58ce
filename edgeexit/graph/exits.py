"""Which tensors of a graph are its exits: chosen by name, unstacked, without a final softmax."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeexit.errors import ModelError

_SOFTMAX = frozenset({"Softmax", "LogSoftmax"})


def choose_exits(graph: ir.Graph, names: Sequence[str] | None) -> list[ir.Value]:
    """Return the exits' tensors in order.

    1. ``names`` given: these tensors, outputs or inner ones, in that order.
    2. Several outputs: all of them, in order.
    3. One output: the exits that are stacked in it (see :func:`unstack`).

    Raises:
        ModelError: A name is unknown or given twice, or there is only one exit.
    """
    if names is not None:
        chosen = _named(graph, list(names))
    elif len(graph.outputs) == 1:
        chosen = unstack(graph.outputs[0])
    else:
        chosen = list(graph.outputs)
    if len(chosen) < 2:
        outputs = ", ".join(repr(value.name) for value in graph.outputs)
        raise ModelError(
            f"the model has one exit ({outputs}), and a multi-exit model has several: its forward "
            "returns the logits of an early classifier after some of its layers, then those of "
            "later ones, then the final ones.",
            hint="return all exits' logits from forward, or name the tensors that hold them, "
            "in order, with --exits first,second,last.",
            code="model.single-output",
        )
    return chosen


def _named(graph: ir.Graph, names: list[str]) -> list[ir.Value]:
    """Return the tensors with the given names (case 1)."""
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ModelError(
            f"exit {duplicates[0]!r} is named twice in {', '.join(names)}.",
            hint="name each exit once, in the order in which the model computes them.",
            code="model.duplicate-exit",
        )
    outputs = {value.name: value for value in graph.outputs}
    inner = {value.name: value for node in graph for value in node.outputs}
    for name in names:
        if name not in outputs and name not in inner:
            raise ModelError(
                f"the model has no tensor {name!r}; its outputs are "
                f"{', '.join(str(output) for output in outputs)}.",
                hint="choose the exits among the outputs, or give the name of an inner tensor.",
                code="model.unknown-exit",
            )
    return [outputs.get(name, inner.get(name)) for name in names]  # type: ignore[misc]


def unstack(output: ir.Value) -> list[ir.Value]:
    """Return the tensors that a single output stacks along a new axis, or the output itself.

    1. Identity, Transpose, and a softmax over the last axis just before the output are skipped.
    2. Concat of Unsqueeze nodes, or of reshapes from rank 2 to rank 3 (what stack exports to).
    3. ConcatFromSequence with a new axis, of a SequenceConstruct.
    """
    value = output
    node = value.producer()
    while node is not None and (node.op_type in ("Identity", "Transpose") or is_softmax(value)):
        value = node.inputs[0] or value
        node = value.producer()
    if node is None:
        return [output]
    if node.op_type == "ConcatFromSequence" and _attribute(node, "new_axis", 0) == 1:
        sequence = node.inputs[0].producer() if node.inputs[0] is not None else None
        if sequence is not None and sequence.op_type == "SequenceConstruct":
            return [value for value in sequence.inputs if value is not None]
    if node.op_type == "Concat":
        parts = [_before_stacking(value) for value in node.inputs]
        if all(part is not None for part in parts):
            return [part for part in parts if part is not None]
    return [output]


def _before_stacking(value: ir.Value | None) -> ir.Value | None:
    """Return the tensor to which the given one adds an axis of size 1, or None."""
    node = value.producer() if value is not None else None
    if value is None or node is None or node.inputs[0] is None:
        return None
    if node.op_type == "Unsqueeze":
        return node.inputs[0]
    before, after = node.inputs[0].shape, value.shape
    if node.op_type != "Reshape" or before is None or after is None:
        return None
    return node.inputs[0] if (len(before), len(after)) == (2, 3) else None


def logits_of(exit_value: ir.Value) -> ir.Value:
    """Return the logits behind an exit: what enters a final Softmax or LogSoftmax over classes."""
    node = exit_value.producer()
    while node is not None and (node.op_type == "Identity" or is_softmax(exit_value)):
        exit_value = node.inputs[0] or exit_value
        node = exit_value.producer()
    return exit_value


def is_softmax(value: ir.Value) -> bool:
    """Tell whether a value is a softmax or log-softmax over its last axis."""
    node = value.producer()
    if node is None or node.op_type not in _SOFTMAX or node.domain not in ("", "ai.onnx"):
        return False
    rank = None if value.shape is None else len(value.shape)
    return _attribute(node, "axis", -1) in (-1, rank - 1 if rank is not None else -1)


def _attribute(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def check_exit(value: ir.Value) -> None:
    """Check that an exit holds logits ``(batch, classes)`` of two classes at least.

    Raises:
        ModelError: Its shape is another.
    """
    shape = value.shape
    if shape is None or len(shape) != 2:
        raise ModelError(
            f"exit {value.name!r} has the shape {shape if shape is not None else 'unknown'}; "
            "gates read logits of shape (batch, classes).",
            hint="return one row of class logits a sample from each exit (pool or flatten first), "
            "or name the right tensors with --exits.",
            code="model.exit-shape",
        )
    if shape[1] == 1:
        raise ModelError(
            f"exit {value.name!r} has one class, and one logit alone says nothing of confidence.",
            hint="give a binary classifier two logits: (0, z) in place of z.",
            code="model.one-class",
        )

"""Tensors that a model returns beside its logits, for the gates that read them.

From normalizing to slicing they are outputs of the graph behind its exits, under names that start
with :data:`GIVEN`. Quantizing and converting to float16 treat them like logits; slicing gives each
to the stage of its exit. A graph for a gate that reads none has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgeexit.errors import ModelError

GIVEN = "edgeexit.given."
"""What the name of such an output starts with; the name of its exit follows."""

_NAME = re.compile(r"(?P<family>halt|gate)_(?P<number>[1-9]\d*)")
_SHAPING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})

Found = Mapping[str, Mapping[int, ir.Value]]
"""Outputs ``<family>_<number>`` by family and number."""


def take_gate_inputs(graph: ir.Graph) -> Found:
    """Take the outputs named ``halt_1``, ``gate_1``, … with one number a sample out of a graph.

    Logits have two classes at least, so none of them can be an exit.
    """
    found: dict[str, dict[int, ir.Value]] = {}
    for value in list(graph.outputs):
        match = _NAME.fullmatch(str(value.name))
        if match and _is_one_number(value):
            found.setdefault(match["family"], {})[int(match["number"])] = value
            graph.outputs.remove(value)
    return found


def _is_one_number(value: ir.Value) -> bool:
    if value.shape is None:
        return True
    return len(value.shape) == 1 or (len(value.shape) == 2 and value.shape[1] == 1)


def give_to_exits(
    graph: ir.Graph, found: Found, family: str, returned: Sequence[str], exits: Sequence[str]
) -> None:
    """Append to the outputs of a graph what each exit's gate reads, the last exit's apart.

    Args:
        graph: Its outputs are the logits of its exits.
        found: What :func:`take_gate_inputs` found.
        family: The family that the gate reads.
        returned: Names of all exits that the model returns, which the numbers count.
        exits: Names of those that are kept.

    Raises:
        ModelError: A tensor is missing, or is not the sigmoid of a value of its own.
    """
    tensors = found.get(family, {})
    numbers = {name: returned.index(name) + 1 for name in exits[:-1]}
    missing = [number for number in numbers.values() if number not in tensors]
    if missing:
        names = [str(value.name) for group in found.values() for value in group.values()]
        there = ", ".join(names) or "none"
        raise ModelError(
            f"this gate reads a tensor beside the logits of each exit but the last, and the model "
            f"does not return {family}_{missing[0]} (there: {there}).",
            hint=f"return {family}_1, {family}_2, … of shape (batch, 1), each the sigmoid of a "
            "head, beside the logits; or choose another --gate.",
            code="model.gate-input",
        )
    for name, number in numbers.items():
        head = _before_sigmoid(tensors[number])
        if head.producer() is None or head in graph.outputs:
            raise _no_sigmoid(tensors[number], "is not computed for this exit alone")
        head.name = f"{GIVEN}{name}"
        graph.outputs.append(head)


def _before_sigmoid(value: ir.Value) -> ir.Value:
    """Return what enters the sigmoid that a tensor comes from: the gate computes it in float32."""
    node = value.producer()
    while node is not None and node.op_type in _SHAPING and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Sigmoid" or node.inputs[0] is None:
        raise _no_sigmoid(value, "does not come out of a Sigmoid")
    return node.inputs[0]


def _no_sigmoid(value: ir.Value, fault: str) -> ModelError:
    return ModelError(
        f"{value.name!r} {fault}; right is a probability (batch, 1): sigmoid(head) of one head an "
        "exit.",
        hint="return torch.sigmoid(head(x)) for each exit, or choose another --gate.",
        code="model.gate-input",
    )


def exit_values(graph: ir.Graph) -> list[ir.Value]:
    """Return the logits of a normalized graph's exits, in order."""
    return [value for value in graph.outputs if not str(value.name).startswith(GIVEN)]


def given_to(graph: ir.Graph, exit_value: ir.Value) -> ir.Value | None:
    """Return what a normalized graph gives to the gate of an exit, or None."""
    name = f"{GIVEN}{exit_value.name}"
    return next((value for value in graph.outputs if value.name == name), None)


def with_given(graph: ir.Graph, exits: Sequence[ir.Value]) -> list[ir.Value]:
    """Return some of a graph's exits, and behind them what their gates read."""
    given = [given_to(graph, value) for value in exits[:-1]]
    return [*exits, *(value for value in given if value is not None)]


def find_given(stage: ir.Graph, exit_name: str) -> ir.Value:
    """Return what the gate of an exit reads, in the graph of its stage.

    Raises:
        ModelError: The stage does not hold it.
    """
    name = f"{GIVEN}{exit_name}"
    held = [*stage.inputs, *(value for node in stage for value in node.outputs)]
    for value in held:
        if value.name == name:
            return value
    raise ModelError(
        f"the model returns no tensor for the gate of exit {exit_name!r}.",
        hint="return a halting or gate probability beside the logits of every exit but the last.",
        code="model.gate-input",
    )

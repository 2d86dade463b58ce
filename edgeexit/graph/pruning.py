"""Exits cut out of a graph, and what each operation of it is needed for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgeexit.graph.cost import node_flops
from edgeexit.graph.describe import ancestors
from edgeexit.graph.gate_inputs import exit_values, given_to, with_given
from edgeexit.graph.normalize import remove_unused


def keep_exits(model: ir.Model, numbers: Sequence[int]) -> None:
    """Cut all other exits, with what only they need, out of a normalized model, in place.

    What a cut exit shared with later ones is theirs, so slicing joins its stage with the next.

    Args:
        model: A normalized model; its outputs are its exits' logits.
        numbers: The exits to keep, from 1, ascending.
    """
    exits = exit_values(model.graph)
    kept = [exits[number - 1] for number in numbers]
    model.graph.outputs[:] = with_given(model.graph, kept)
    remove_unused(model)


def exit_flops(model: ir.Model, sizes: Mapping[str, int]) -> dict[tuple[int, ...], int]:
    """Return the FLOPs of one sample by the exits, from 1, that need them.

    A stage is what several exits need, a head what one needs alone. For any subset of exits, an
    operation runs once, before the first of them that needs it.

    Args:
        model: A normalized model.
        sizes: A size for each dynamic axis, the batch 1.

    Raises:
        ModelError: The shape of a matrix product is not known at these sizes.
    """
    flops = node_flops(model, sizes)
    users: dict[ir.Node, tuple[int, ...]] = {}
    for number, logits in enumerate(exit_values(model.graph), start=1):
        needed = [logits, given_to(model.graph, logits)]
        for node in {node for value in needed if value for node in ancestors(value)}:
            users[node] = (*users.get(node, ()), number)
    found: dict[tuple[int, ...], int] = {}
    for node, numbers in users.items():
        found[numbers] = found.get(numbers, 0) + flops.get(node.name or "", 0)
    return found

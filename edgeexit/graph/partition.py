"""Where a multi-exit graph is cut: which nodes each stage runs, and which tensors cross.

Stage k owns the ancestors of exit k that no earlier exit needs. A value that stage k reads and
an earlier stage produced is either *carried* over the boundary or *rebuilt* inside stage k:

1. Values that depend on constants alone are rebuilt; they carry no information.
2. Values derived from a Shape are rebuilt, never carried: after rows have left a batch, a carried
   shape would describe the rows that were there before.
3. The output of a DequantizeLinear is rebuilt from its quantized input, so a stage starts with
   the int8 tensor and its engine can fuse the pair with the operation behind it.
4. Any other value is rebuilt when cheap operations make it from values that take fewer bytes
   across the boundary, such as an attention mask expanded from the token mask.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgeexit.errors import ModelError
from edgeexit.graph.gate_inputs import exit_values, given_to
from edgeexit.graph.origins import Origin, find_origins, is_constant
from edgeexit.graph.sizes import value_bytes

# fmt: off
CHEAP = frozenset((
    "Abs", "Add", "And", "BitwiseAnd", "Cast", "Clip", "Concat", "DequantizeLinear", "Div",
    "Equal", "Expand", "Gelu", "Greater", "GreaterOrEqual", "Identity", "LeakyRelu", "Less",
    "LessOrEqual", "Mul", "Neg", "Not", "Or", "QuantizeLinear", "Relu", "Reshape", "Sigmoid",
    "Slice", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
))
# fmt: on
"""Operations that cost about as much as moving their output."""

_DEEPEST_REBUILD = 64
"""Longest chain of cheap operations that is followed; bounds the search on residual networks."""


@dataclass
class StagePlan:
    """What one stage runs and what crosses its edges, as values of the source graph.

    Attributes:
        number: 1 for the first stage.
        exit: The exit's logits.
        given: What the model gives to the exit's gate beside the logits, or None.
        owned: Nodes that only this and later exits need.
        rebuilt: Nodes of earlier stages that this stage runs again.
        inputs: Model inputs it reads.
        carried_in: Values of earlier stages it reads.
        carried_out: Values of its own that later stages read.
        shape_sources: For each Shape node whose input does not reach this stage: the size of each
            axis, a number or the (value, axis) to read it from.
    """

    number: int
    exit: ir.Value
    owned: list[ir.Node]
    rebuilt: set[ir.Node] = field(default_factory=set)
    inputs: list[ir.Value] = field(default_factory=list)
    carried_in: list[ir.Value] = field(default_factory=list)
    carried_out: list[ir.Value] = field(default_factory=list)
    shape_sources: dict[ir.Node, list[int | tuple[ir.Value, int]]] = field(default_factory=dict)
    given: ir.Value | None = None


def partition(model: ir.Model) -> tuple[StagePlan, ...]:
    """Cut a graph whose outputs are its exits' logits, in order, into K stages.

    What gates read beside the logits may follow them.

    Args:
        model: A normalized model with K outputs; one is a model cut there.

    Returns:
        One plan a stage, in order.

    Raises:
        ModelError: A stage would be empty, or an exit depends on a later one.
    """
    graph = model.graph
    order = {node: index for index, node in enumerate(graph)}
    exits = exit_values(graph)
    owners = _owners(graph, exits)
    origins = find_origins(graph)
    plans = []
    for number, logits in enumerate(exits, start=1):
        owned = sorted((n for n, owner in owners.items() if owner == number), key=order.__getitem__)
        _refuse_empty(number, logits, owned)
        plan = StagePlan(number, logits, owned, given=given_to(graph, logits))
        _BoundaryPlanner(plan, order, origins).decide()
        plans.append(plan)
    _link(plans, owners, graph.inputs)
    return tuple(plans)


def _owners(graph: ir.Graph, exits: Sequence[ir.Value]) -> dict[ir.Node, int]:
    """Map each node to the number of the first exit that needs it, for itself or its gate."""
    numbers = {value: number for number, value in enumerate(exits, start=1)}
    owners: dict[ir.Node, int] = {}
    for number, logits in enumerate(exits, start=1):
        given = given_to(graph, logits)
        pending = [logits] if given is None else [logits, given]
        while pending:
            value = pending.pop()
            if value is not logits and numbers.get(value, 0) > number:
                raise ModelError(
                    f"exit {number} ({logits.name!r}) depends on exit {numbers[value]} "
                    f"({value.name!r}), which comes after it.",
                    hint="name the exits in the order in which the model computes them.",
                    code="model.exit-order",
                )
            node = value.producer()
            if node is not None and node not in owners:
                owners[node] = number
                pending.extend(v for v in node.inputs if v is not None)
    return owners


def _refuse_empty(number: int, logits: ir.Value, owned: Iterable[ir.Node]) -> None:
    if all(node.op_type == "Identity" for node in owned):
        raise ModelError(
            f"stage {number} is empty: exit {logits.name!r} is computed without any operation that "
            "an earlier exit does not already need.",
            hint="leave this exit out with --exits.",
            code="model.empty-stage",
        )


class _BoundaryPlanner:
    """Decides for each value that one stage reads from outside whether it is carried or rebuilt."""

    def __init__(
        self, plan: StagePlan, order: Mapping[ir.Node, int], origins: Mapping[ir.Value, Origin]
    ) -> None:
        self._plan = plan
        self._order = order
        self._origins = origins
        self._own = set(plan.owned)
        self._carried: dict[ir.Value, None] = {}
        self._inputs: dict[ir.Value, None] = {}
        self._queue: list[tuple[int, int, ir.Value]] = []

    def decide(self) -> None:
        """Fill in the plan's rebuilt nodes, inputs, carried values and shape sources."""
        for node in self._plan.owned:
            self._require_inputs(node)
        self._require(self._plan.given)
        self._settle()
        while self._add_missing_shape_inputs():
            self._settle()
        self._plan.carried_in = list(self._carried)
        self._plan.inputs = list(self._inputs)

    def _require_inputs(self, node: ir.Node) -> None:
        if node.op_type != "Shape":
            for value in node.inputs:
                self._require(value)

    def _require(self, value: ir.Value | None) -> None:
        if value is None or is_constant(value) or self._is_here(value):
            return
        producer = value.producer()
        if producer is None:
            self._inputs[value] = None
        else:
            self._carried[value] = None
            heapq.heappush(self._queue, (-self._order[producer], id(value), value))

    def _is_here(self, value: ir.Value) -> bool:
        return value in self._carried or value in self._inputs or value.producer() in self._own

    def _settle(self) -> None:
        """Rebuild what should be, last producers first, so that later choices see earlier ones."""
        while self._queue:
            value = heapq.heappop(self._queue)[2]
            producer = value.producer()
            if value not in self._carried or producer is None:
                continue
            if self._must_rebuild(value, producer) or self._saves_bytes(value, producer):
                for output in producer.outputs:
                    self._carried.pop(output, None)
                self._own.add(producer)
                self._plan.rebuilt.add(producer)
                self._require_inputs(producer)

    def _must_rebuild(self, value: ir.Value, producer: ir.Node) -> bool:
        return self._origins[value] is not Origin.DATA or producer.op_type == "DequantizeLinear"

    def _saves_bytes(self, value: ir.Value, producer: ir.Node) -> bool:
        """Tell whether cheap operations make ``value`` from fewer bytes than it has itself."""
        if producer.op_type not in CHEAP:
            return False
        memo: dict[ir.Value, float] = {value: value_bytes(value)}

        def crossing_bytes(current: ir.Value | None, depth: int) -> float:
            if current is None or is_constant(current):
                return 0.0
            if current not in memo:
                node = current.producer()
                free = self._is_here(current) or (node is not None and node.op_type == "Shape")
                memo[current] = 0.0 if free else float(value_bytes(current))
                cheap = node is not None and node.op_type in CHEAP and depth < _DEEPEST_REBUILD
                if node is not None and cheap and not free:
                    rebuilt = sum(crossing_bytes(v, depth + 1) for v in node.inputs)
                    memo[current] = min(memo[current], rebuilt)
            return memo[current]

        return sum(crossing_bytes(v, 1) for v in producer.inputs) < value_bytes(value)

    def _add_missing_shape_inputs(self) -> bool:
        """Give each Shape of an absent tensor another one to read sizes from, or carry it."""
        added = False
        present = [*self._carried, *self._inputs]
        for node in sorted(self._own, key=self._order.__getitem__):
            source = node.inputs[0] if node.op_type == "Shape" else None
            if source is None or self._is_here(source) or is_constant(source):
                continue
            axes = _axes_from(source, present)
            if axes is None:
                self._require(source)
                added = True
            else:
                self._plan.shape_sources[node] = axes
        return added


def _axes_from(
    source: ir.Value, present: Sequence[ir.Value]
) -> list[int | tuple[ir.Value, int]] | None:
    """Say where each axis of ``source`` can be read, or None where that is not known."""
    if source.shape is None:
        return None
    axes: list[int | tuple[ir.Value, int]] = []
    for dim in source.shape:
        if isinstance(dim, int):
            axes.append(dim)
            continue
        places = (
            (value, axis)
            for value in present
            for axis, other in enumerate(value.shape or ())
            if not isinstance(other, int) and other.value is not None and other == dim
        )
        place = next(places, None)
        if place is None:
            return None
        axes.append(place)
    return axes


def _link(
    plans: Sequence[StagePlan], owners: Mapping[ir.Node, int], inputs: Sequence[ir.Value]
) -> None:
    """Tell each stage which of its values later stages read; put all lists in a fixed order."""
    position = {value: index for index, value in enumerate(inputs)}
    for plan in plans:
        plan.inputs.sort(key=position.__getitem__)
        plan.carried_in.sort(key=lambda value: value.name or "")
        for value in plan.carried_in:
            producer = value.producer()
            if producer is None:
                raise AssertionError(f"carried value {value.name!r} has no producer")
            earlier = plans[owners[producer] - 1]
            if value not in earlier.carried_out:
                earlier.carried_out.append(value)
    for plan in plans:
        plan.carried_out.sort(key=lambda value: value.name or "")

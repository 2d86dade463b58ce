"""What a gate is: features of an exit's logits, weighed by an input of the stage.

``score = sum_f features_f * weights_f``, computed by Mul and ReduceSum in float32: a MatMul may
run in bfloat16 and then errs by 0.1. The parameters are an input, never constants, so calibrating
does not rebuild an engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

PREFIX = "edgeexit."
"""What the names of all gate tensors and nodes start with."""


class GraphBuilder:
    """Appends nodes to a graph under names that start with a prefix."""

    def __init__(self, graph: ir.Graph, prefix: str) -> None:
        self._graph = graph
        self._prefix = prefix
        self._count = 0

    def op(
        self,
        op_type: str,
        *inputs: ir.Value,
        name: str | None = None,
        **attributes: int | str | Sequence[int],
    ) -> ir.Value:
        """Append a node and return its only output, under ``name`` if given."""
        return self.ops(op_type, *inputs, outputs=1, name=name, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value,
        outputs: int,
        name: str | None = None,
        **attributes: int | str | Sequence[int],
    ) -> Sequence[ir.Value]:
        """Append a node and return its outputs; ``name`` is the first one's, if given."""
        self._count += 1
        label = f"{self._prefix}{op_type}_{self._count}"
        names = [name or label, *(f"{label}.{index}" for index in range(1, outputs))]
        node = ir.Node(
            "",
            op_type,
            inputs,
            ir.convenience.convert_attributes(attributes),
            outputs=[ir.Value(name=text) for text in names],
            name=f"{label}.node",
        )
        self._graph.append(node)
        return node.outputs

    def constant(self, value: float | Sequence[float] | Sequence[int], dtype: str) -> ir.Value:
        """Append a constant tensor."""
        self._count += 1
        array = np.asarray(value, dtype=dtype)
        label = f"{self._prefix}Constant_{self._count}"
        node = ir.Node(
            "",
            "Constant",
            [],
            [ir.AttrTensor("value", ir.tensor(array))],
            outputs=[ir.Value(name=label)],
            name=f"{label}.node",
        )
        self._graph.append(node)
        return node.outputs[0]


@dataclass(frozen=True)
class GateContext:
    """What a gate is built from.

    Attributes:
        build: Appends nodes to the stage.
        logits: The exit's logits ``(batch, classes) float32``.
        classes: Number of classes.
        inverse_temperature: ``(1,) float32``, the first of the gate's parameters.
        state: What the previous stage's gate carried, by short name; empty in stage 1.
        given: What the model gives to this gate, before its sigmoid, ``(batch, 1) float32``; None
            for a gate that reads no such tensor.
    """

    build: GraphBuilder
    logits: ir.Value
    classes: int
    inverse_temperature: ir.Value
    state: Mapping[str, ir.Value]
    given: ir.Value | None = None


@dataclass(frozen=True)
class StateSpec:
    """One tensor that a gate carries: element type and shape behind the batch axis.

    Attributes:
        dtype: ``float32`` or ``int32``.
        width: None for ``(batch,)``, else the second axis of ``(batch, width)``.
    """

    dtype: str
    width: int | None = None


class Gate(ABC):
    """A score of how safe it is to leave at an exit.

    Attributes:
        name: As in ``--gate``.
        version: Raised whenever the feature list or a feature's meaning changes.
        features: Names of the features in order.
        default_weights: Weights with which the score is the gate's plain criterion.
        compares_exits: True if exits must have the same classes.
        reads: What the tensors are named that the model must return beside its logits, ``halt``
            for ``halt_1``, ``halt_2``, …; None where it needs none.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    features: ClassVar[tuple[str, ...]]
    default_weights: ClassVar[tuple[float, ...]]
    compares_exits: ClassVar[bool]
    reads: ClassVar[str | None] = None

    @abstractmethod
    def state(self, number: int) -> Mapping[str, StateSpec]:
        """Return what the gate of stage ``number`` carries to the next gate, by short name."""

    @abstractmethod
    def build(self, context: GateContext) -> tuple[list[ir.Value], Mapping[str, ir.Value]]:
        """Append the gate's nodes.

        Returns:
            One ``(batch, 1) float32`` value a feature, and the state values by short name.
        """

    @abstractmethod
    def flops(self, classes: int) -> int:
        """Return the floating-point operations for one sample, one an element of each result."""

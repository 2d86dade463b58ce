"""The strongly typed flavour: float16 inside, float32 where it is needed, every cast written out.

TensorRT's strongly typed networks take the types of the ONNX graph as they are: nothing is cast
for the author, and nothing runs in a type that the graph does not name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from edgeexit.errors import ModelError
from edgeexit.graph.half.bounds import HALF_LIMIT, clamp_bounds
from edgeexit.graph.half.ranges import measure_ranges
from edgeexit.graph.half.rules import Kept, find_kept
from edgeexit.graph.half.scales import holds_scale, raise_dead_scales
from edgeexit.graph.half.types import write_half_types
from edgeexit.graph.opset import convert_opset
from edgeexit.graph.shapes import all_values, infer_shapes

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_IR_VERSION = 9
"""ONNX 1.14 and 1.15's, of opsets 19 and 20: a newer parser reads it, an older one no newer."""


@dataclass(frozen=True)
class KeptNode:
    """A node that computes in float32.

    Attributes:
        name: Its name.
        operator: Its operator.
        rule: The rule that keeps it; see :func:`edgeexit.graph.half.rules.find_kept`.
        reason: In words.
        largest: The magnitude that decided, or None where none did.
    """

    name: str
    operator: str
    rule: str
    reason: str
    largest: float | None


@dataclass(frozen=True)
class StrongReport:
    """What became of a graph.

    Attributes:
        opset: The opset it now has.
        half: Number of nodes that compute in float16.
        kept: The nodes that compute in float32.
        largest: Name and magnitude of the largest value that is held in float16.
        clamped: Constants beyond float16 that were only bounds, and are nearer now.
        raised: DequantizeLinear nodes of weights whose dead channels got a larger scale.
        measured: Whether the ranges come from real inputs rather than random ones.
    """

    opset: int
    half: int
    kept: tuple[KeptNode, ...]
    largest: tuple[str, float]
    clamped: tuple[str, ...]
    raised: tuple[str, ...]
    measured: bool

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return {**dataclasses.asdict(self), "limit": HALF_LIMIT}


def strongly_typed(
    model: ir.Model, samples: Sequence[Mapping[str, npt.NDArray[Any]]] | None, *, workdir: Path
) -> StrongReport:
    """Rewrite a multi-exit model into the strongly typed float16 flavour.

    Afterwards the opset is 19 or 20; weights, activations and scales are float16, apart from the
    nodes that the report lists; inputs have the types they had, and every exit's logits are
    float32. Names of inputs, exits and nodes survive; an exit's value before the cast is named
    ``<exit>.half``.

    Args:
        model: A normalized model in float32, or in int8 with float32 pairs; changed in place.
        samples: Batches of inputs by name, a few of them typical, to measure ranges with; random
            inputs if None.
        workdir: A folder for temporary files.

    Raises:
        ModelError: The opset cannot be converted, or the model does not run on ONNX Runtime.
    """
    convert_opset(model)
    model.ir_version = _IR_VERSION
    infer_shapes(model)
    clamped = clamp_bounds(model.graph)
    raised = raise_dead_scales(model.graph)
    ranges = measure_ranges(model, samples, workdir)
    _require_types(model.graph)
    kept = find_kept(model, ranges)
    write_half_types(model, kept)
    infer_shapes(model)
    halves = {str(v.name).removesuffix(".half") for v in all_values(model.graph) if _is_half(v)}
    sizes = {name: size for name, size in ranges.largest.items() if name in halves}
    largest = max(sizes.items(), key=lambda item: item[1], default=("", 0.0))
    nodes = tuple(_kept_nodes(model.graph, kept))
    half = sum(any(_is_half(v) for v in n.outputs) for n in model.graph if n.op_type != "Cast")
    opset = model.graph.opset_imports[""]
    return StrongReport(opset, half, nodes, largest, clamped, raised, samples is not None)


def _require_types(graph: ir.Graph) -> None:
    for value in all_values(graph):
        if value.dtype is None and value.name:
            raise ModelError(
                f"the element type of tensor {value.name!r} is not known.",
                hint="run the model through onnx.shape_inference, or export it again.",
                code="model.dtype",
            )


def _is_half(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT16


def _kept_nodes(graph: ir.Graph, kept: Mapping[ir.Node, Kept]) -> Iterator[KeptNode]:
    """Yield the kept nodes that are in the graph, and the pairs around them that follow them."""
    for node in graph:
        why = kept.get(node)
        if why is None and node.op_type in _PAIR and _is_float_pair(node):
            why = _neighbour(node, kept)
        if why is not None and node.op_type != "Cast":
            yield KeptNode(str(node.name), node.op_type, why.rule, why.reason, why.largest)


def _is_float_pair(node: ir.Node) -> bool:
    value = node.inputs[0] if node.op_type == "QuantizeLinear" else node.outputs[0]
    return value is not None and value.dtype == ir.DataType.FLOAT


def _neighbour(node: ir.Node, kept: Mapping[ir.Node, Kept]) -> Kept:
    """Return why a pair is float32: for what it belongs to, its own scale, or the model's input."""
    around: Collection[ir.Node | None] = [
        *(value.producer() for value in node.inputs if value is not None),
        *(reader for reader, _ in node.outputs[0].uses()),
    ]
    found = [kept[other] for other in around if other is not None and other in kept]
    if found:
        return found[0]
    if holds_scale(node):
        return Kept("input", "it reads an input of the model as it is")
    return Kept("scale", "float16 cannot hold its scale")

"""The stages as one ONNX file: each stage but the first in an ``If`` of the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.specs import BATCH, StageSpec, TensorSpec
from tests.benchmarks.models import without_gates

LOGITS, EXIT = "logits", "exit"
"""Outputs of the file: ``(batch, C) float32``, and the exit taken, ``(1,) int64`` from 1."""

_IR_VERSION = 9


def write_monolith(bundle: Bundle, thresholds: Sequence[float], path: Path) -> list[TensorSpec]:
    """Write a bundle's stages as one graph with nested ``If`` nodes.

    A branch reads what the stages before it made from the graphs around it, so later stages run
    only where they are asked for. ``If`` decides for the whole batch: it leaves where the largest
    softmax probability of every image reaches the threshold.

    Args:
        bundle: Its stages; their own gates are left out.
        thresholds: K - 1 probabilities.
        path: The file.

    Returns:
        What the outputs are.
    """
    bare = without_gates(bundle)
    stages = [
        _Stage(number, spec, onnx.load(str(bare.folder / spec.file)))
        for number, spec in enumerate(bare.manifest.stages, start=1)
    ]
    inputs = {spec.name: spec.name for spec in bundle.manifest.inputs}
    graph = _nested(stages, thresholds, inputs, (LOGITS, EXIT))
    first = stages[0].model
    graph.input.extend(value for value in first.graph.input if value.name in inputs)
    whole = helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=first.opset_import)
    onnx.checker.check_model(whole)
    onnx.save(whole, str(path))
    last = stages[-1].spec.exit.outputs[0]
    shape = (BATCH, *last.shape[1:])
    return [
        TensorSpec(LOGITS, "float32", shape, last.batch_axis, last.rows_per_sample),
        TensorSpec(EXIT, "int64", (1,), None, 0),
    ]


@dataclass(frozen=True)
class _Stage:
    number: int
    spec: StageSpec
    model: onnx.ModelProto

    def name(self, inner: str) -> str:
        """Return a name that no other stage has: graphs inside each other may repeat none."""
        return f"stage_{self.number}/{inner}"

    def answer(self, branch: str, logits: str, outputs: tuple[str, str]) -> onnx.GraphProto:
        """Return a graph that hands out this stage's logits and number."""
        graph = onnx.GraphProto(name=self.name(branch))
        exit_name = self.name(f"{branch}/exit")
        number = numpy_helper.from_array(np.array([self.number], np.int64))
        graph.node.extend([
            helper.make_node("Identity", [logits], outputs[:1], self.name(f"{branch}/logits")),
            helper.make_node("Constant", [], outputs[1:], exit_name, value=number),
        ])  # fmt: skip
        graph.output.extend(self.outputs(outputs))
        return graph

    def outputs(self, names: tuple[str, str]) -> list[onnx.ValueInfoProto]:
        """Return the two outputs of a graph under these names."""
        shape = [BATCH, *self.spec.exit.outputs[0].shape[1:]]
        return [
            helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape),
            helper.make_tensor_value_info(names[1], TensorProto.INT64, [1]),
        ]


def _nested(
    stages: Sequence[_Stage],
    thresholds: Sequence[float],
    outer: Mapping[str, str],
    outputs: tuple[str, str],
) -> onnx.GraphProto:
    """Return the first of ``stages`` with all later ones inside it.

    Args:
        stages: This stage and those after it.
        thresholds: Of all stages but the last.
        outer: What the graphs around call the tensors that stages may read.
        outputs: Names of the graph's outputs.
    """
    stage, *later = stages
    names, graph = dict(outer), onnx.GraphProto(name=stage.name("graph"))
    _take_over(stage, names, graph)
    logits = names[stage.spec.exit.outputs[0].name]
    if not later:
        answer = stage.answer("last", logits, outputs)
        graph.node.extend(answer.node)
        graph.output.extend(answer.output)
        return graph
    sides = {}
    for branch in ("then", "else"):
        own = stage.name(f"{branch}/{LOGITS}"), stage.name(f"{branch}/{EXIT}")
        sides[f"{branch}_branch"] = (
            stage.answer(branch, logits, own)
            if branch == "then"
            else _nested(later, thresholds[1:], names, own)
        )
    graph.node.extend(_condition(stage, logits, thresholds[0], graph))
    graph.node.append(
        helper.make_node("If", [stage.name("leave")], outputs, stage.name("if"), **sides)
    )
    graph.output.extend(stage.outputs(outputs))
    return graph


def _take_over(stage: _Stage, names: dict[str, str], graph: onnx.GraphProto) -> None:
    """Copy a stage's weights and nodes, renamed; ``names`` grows by what it makes."""
    for tensor in stage.model.graph.initializer:
        names[tensor.name] = stage.name(tensor.name)
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = names[tensor.name]
    for node in stage.model.graph.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = stage.name(node.name)
        copy.input[:] = [names[name] if name else "" for name in node.input]
        names.update({name: stage.name(name) for name in node.output if name})
        copy.output[:] = [names[name] if name else "" for name in node.output]


def _condition(
    stage: _Stage, logits: str, threshold: float, graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """Return the nodes from logits to a single truth value: every image of the batch is sure."""
    name = stage.name
    graph.initializer.extend([
        numpy_helper.from_array(np.array(threshold, np.float32), name("threshold")),
        numpy_helper.from_array(np.array([1], np.int64), name("classes")),
    ])  # fmt: skip
    return [
        helper.make_node("Softmax", [logits], [name("p")], name("softmax"), axis=1),
        helper.make_node(
            "ReduceMax", [name("p"), name("classes")], [name("top")], name("max"), keepdims=0
        ),
        helper.make_node("ReduceMin", [name("top")], [name("least")], name("min"), keepdims=0),
        helper.make_node(
            "GreaterOrEqual", [name("least"), name("threshold")], [name("leave")], name("compare")
        ),
    ]

"""One multi-exit graph in; stage graphs, the whole and the static one out, over shared weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from edgeexit.bundle.specs import BATCH, Compaction, StageSpec, TensorSpec
from edgeexit.graph.axes import MeasuredAxes, measure_axes
from edgeexit.graph.cost import count_params, node_flops
from edgeexit.graph.describe import ancestors, declare_shapes, initializers_of, stage_specs
from edgeexit.graph.gate_inputs import exit_values
from edgeexit.graph.gates import attach_gates, get_gate
from edgeexit.graph.gates.attach import AttachedGate
from edgeexit.graph.partition import StagePlan, partition
from edgeexit.graph.stages import build_stage, build_whole
from edgeexit.graph.weights import externalize_weights


@dataclass(frozen=True)
class Sliced:
    """What the manifest says of the graphs that were written.

    Attributes:
        stages: The stages in order.
        static_flops: Floating-point operations of the static graph for one sample.
        static_params: Its number of parameters.
        compaction: Whether rows may leave a batch.
    """

    stages: tuple[StageSpec, ...]
    static_flops: int
    static_params: int
    compaction: Compaction


def slice_model(
    model: ir.Model,
    inputs: Sequence[TensorSpec],
    folder: Path,
    *,
    gate: str,
    probe: Mapping[str, npt.NDArray[Any]] | None,
) -> Sliced:
    """Cut a normalized model at its exits and write all graphs of a bundle.

    Args:
        model: The whole model; its weights are moved to a file in ``folder``.
        inputs: Specs of its inputs.
        folder: Where ``stage-K.onnx``, ``whole.onnx``, ``static.onnx`` and the weights go.
        gate: Name of the gate that ends every stage but the last.
        probe: Some inputs to measure shapes with; random ones if None.

    Raises:
        ModelError: The model cannot be sliced or gated.
    """
    chosen = get_gate(gate)
    externalize_weights(model, folder)
    plans = partition(model)
    exits = exit_values(model.graph)
    crossing = [value for plan in plans for value in plan.carried_out if value not in exits]
    axes = measure_axes(model, [*exits, *crossing], None if probe is None else dict(probe), folder)
    stages = [build_stage(model, plan) for plan in plans]
    attached = attach_gates(stages, [axes.specs[p.exit.name or ""] for p in plans], chosen)
    declare_shapes(stages, axes)
    for plan, stage in zip(plans, stages, strict=True):
        ir.save(stage, folder / f"stage-{plan.number}.onnx")
    ir.save(build_whole(model, exits, "whole"), folder / "whole.onnx")
    ir.save(build_whole(model, exits[-1:], "static"), folder / "static.onnx")
    return _describe(model, plans, axes, attached, inputs)


def _describe(
    model: ir.Model,
    plans: Sequence[StagePlan],
    axes: MeasuredAxes,
    attached: Sequence[AttachedGate],
    inputs: Sequence[TensorSpec],
) -> Sliced:
    sizes = {symbol: 1 if symbol == BATCH else size for symbol, size in axes.sizes.items()}
    flops = node_flops(model, sizes)
    static = ancestors(plans[-1].exit)
    return Sliced(
        stages=tuple(stage_specs(plans, axes, attached, tuple(inputs), flops)),
        static_flops=sum(flops.get(node.name or "", 0) for node in static),
        static_params=count_params(initializers_of(static)),
        compaction=axes.compaction,
    )

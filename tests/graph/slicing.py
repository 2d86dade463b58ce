"""Slice a small graph written as text and run its stages on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort

from edgeexit.graph.normalize import normalize
from edgeexit.graph.partition import StagePlan, partition
from edgeexit.graph.stages import build_stage, build_whole
from tests.graph.onnx_models import HEADER, text_model

Arrays = dict[str, npt.NDArray[Any]]


def parsed(text: str, **weights: npt.NDArray[Any]) -> ir.Model:
    """Parse a graph in ONNX text form; its weights may stand among its inputs."""
    model = text_model(HEADER + text, **weights)
    inputs = [value for value in model.graph.inputs if value.name not in weights]
    model.graph.inputs[:] = inputs
    return model


def model_of(text: str, **weights: npt.NDArray[Any]) -> ir.Model:
    """Return what :func:`parsed` does, normalized."""
    return normalize(parsed(text, **weights))


def session(model: ir.Model, folder: Path, name: str) -> ort.InferenceSession:
    """Save a model and open it."""
    path = folder / f"{name}.onnx"
    ir.save(model, path)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run_whole(model: ir.Model, inputs: Arrays, folder: Path) -> Arrays:
    """Return the logits of all exits."""
    opened = session(build_whole(model, list(model.graph.outputs), "whole"), folder, "whole")
    names = [value.name for value in opened.get_outputs()]
    return dict(zip(names, opened.run(names, inputs), strict=True))


def run_stages(
    model: ir.Model, inputs: Arrays, folder: Path, keep: dict[int, list[int]] | None = None
) -> tuple[tuple[StagePlan, ...], Arrays]:
    """Run the stages in order; after stage k only the rows in ``keep[k]`` go on."""
    plans = partition(model)
    values = dict(inputs)
    logits: Arrays = {}
    for plan in plans:
        opened = session(build_stage(model, plan), folder, f"stage-{plan.number}")
        wanted = [value.name for value in opened.get_inputs()]
        names = [value.name for value in opened.get_outputs()]
        values.update(zip(names, opened.run(names, {n: values[n] for n in wanted}), strict=True))
        logits[plan.exit.name or ""] = values[plan.exit.name or ""]
        if keep and plan.number in keep:
            rows = np.asarray(keep[plan.number])
            values = {name: array[rows] for name, array in values.items()}
    return plans, logits


def names(values: list[ir.Value]) -> list[str]:
    """Return the names of values."""
    return [value.name or "" for value in values]

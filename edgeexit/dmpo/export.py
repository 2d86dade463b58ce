"""From a tuned torch model to one ONNX graph, and the proof that both answer alike."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from edgeexit.dmpo.data.dataset import LabelledSet, TuneData
from edgeexit.dmpo.lora import merge_lora
from edgeexit.dmpo.model import MultiExitModel
from edgeexit.errors import InputError, ModelError
from edgeexit.graph.export_torch import export_module
from edgeexit.tuned import TunedParity

PARITY_SAMPLES = 1000
"""Inputs that the exported graph is compared on."""

LARGEST_DIFFERENCE = 1e-4
"""Largest difference of a logit that float32 arithmetic in another order explains; of logits beyond
1, the share of the largest one."""

_BATCH = 32

Array = npt.NDArray[Any]
Inputs = Mapping[str, Array]


def on_cpu(model: MultiExitModel) -> MultiExitModel:
    """Return a copy in float32 on the CPU, for inference; the model stays as it is."""
    return copy.deepcopy(model).float().cpu().eval().requires_grad_(False)


def merge(model: MultiExitModel) -> MultiExitModel:
    """Take adapters, every beta and the second-order predictor's 1/2 into plain weights.

    Args:
        model: Changed in place.
    """
    merge_lora(model.backbone)
    for each in model.exits:
        each.fold_beta()  # type: ignore[operator]
    return model


def exit_names(model: MultiExitModel) -> tuple[str, ...]:
    """Return the names of the exits' outputs: ``exit_1`` to ``exit_K``."""
    return tuple(f"exit_{number}" for number in range(1, len(model.after) + 1))


def model_inputs(model: MultiExitModel, arrays: Inputs) -> dict[str, Array]:
    """Return the arrays that a model reads, by its own names and in its order.

    Raises:
        InputError: One is missing.
    """
    names = [shape.name for shape in model.backbone.inputs]
    if len(names) == len(arrays) == 1:
        return {names[0]: next(iter(arrays.values()))}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(
            f"the data holds {', '.join(arrays)}; the backbone reads {', '.join(names)}.",
            hint=f"add {missing[0]!r} to the data, named so.",
            code="tune.inputs",
        )
    return {name: arrays[name] for name in names}


def export_model(model: MultiExitModel, inputs: Inputs, path: Path) -> None:
    """Write a merged model as ONNX: opset 20, dynamic batch, an output an exit.

    Args:
        model: The merged model.
        inputs: Some samples of its inputs, as :func:`model_inputs` returns them.
        path: The file.

    Raises:
        ModelError: It cannot be exported.
    """
    examples = {name: array[:1] for name, array in inputs.items()}
    graph = export_module(model, examples, exit_names(model))
    # The exporter notes the Python line of every operator, with the paths of this machine.
    ClearMetadataAndDocStringPass()(graph)
    ir.save(graph, path)


def held_out(data: TuneData, count: int = PARITY_SAMPLES) -> tuple[LabelledSet, bool]:
    """Return samples for the comparison, and whether they were kept from training.

    Those kept for calibration come first, then those for validation; training samples stand in
    where nothing was kept.
    """
    kept = [part for part in (data.calibration, data.validation) if len(part)]
    parts = kept or [data.train]
    inputs = {
        name: np.concatenate([part.inputs[name][:count] for part in parts])[:count]
        for name in parts[0].inputs
    }
    labels = np.concatenate([part.labels[:count] for part in parts])[:count]
    return LabelledSet(inputs, labels), bool(kept)


def torch_logits(model: MultiExitModel, inputs: Inputs) -> list[Array]:
    """Return the ``(n, classes) float32`` logits of every exit of a model on the CPU."""
    with torch.inference_mode():
        answers = [
            model(*(torch.from_numpy(np.ascontiguousarray(array)) for array in batch.values()))
            for batch in _batches(inputs)
        ]
    return [np.concatenate([a[k].numpy() for a in answers]) for k in range(len(model.after))]


def onnx_logits(path: Path, inputs: Inputs) -> list[Array]:
    """Return the logits of every output of an ONNX file in ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers = [session.run(None, batch) for batch in _batches(inputs)]
    return [np.concatenate(each) for each in zip(*answers, strict=True)]


def compare(reference: list[Array], exported: list[Array], *, held_out: bool) -> TunedParity:
    """Return how far two models' logits, one array an exit, are apart.

    A flip with a difference within :data:`LARGEST_DIFFERENCE` is a tie of two classes: it is
    counted, and no reason to throw a tuned model away.

    Raises:
        ModelError: They differ by more, or are no numbers.
    """
    pairs = list(zip(reference, exported, strict=True))
    differences = tuple(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
    flips = tuple(int((a.argmax(1) != b.argmax(1)).sum()) for a, b in pairs)
    for number, difference in enumerate(differences, start=1):
        limit = LARGEST_DIFFERENCE * max(1.0, float(np.abs(reference[number - 1]).max()))
        if not difference <= limit:  # NaN too
            raise ModelError(
                f"the exported graph differs from the tuned model at exit {number}: its logits by "
                f"up to {difference:.3g}, the top class of {flips[number - 1]} of "
                f"{len(reference[0])} samples; at most {limit:.3g} was expected.",
                hint="please report it with the configuration; the checkpoint is kept.",
                code="model.tuned-parity",
            )
    return TunedParity(len(reference[0]), held_out, differences, flips)


def _batches(inputs: Inputs) -> Iterator[dict[str, Array]]:
    count = len(next(iter(inputs.values())))
    for start in range(0, count, _BATCH):
        yield {name: array[start : start + _BATCH] for name, array in inputs.items()}

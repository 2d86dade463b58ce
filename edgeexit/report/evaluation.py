"""What every exit, and the static model, say of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import Manifest
from edgeexit.calibrate.checks import check_outputs
from edgeexit.calibrate.collect import BATCH_SAMPLES, gate_layout
from edgeexit.calibrate.records import ExitRecords
from edgeexit.calibrate.temperature import log_softmax
from edgeexit.calibrate.units import unit_numbers
from edgeexit.datasets import Dataset
from edgeexit.errors import TargetError
from edgeexit.runtime.lane import take_samples
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel

Progress = Callable[[str, float], None]
"""Called with the name of the step at hand and the share of it that is done, in [0, 1]."""

_STATIC_BATCH = 32

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """The answers of K exits and of the static model to n samples.

    Attributes:
        records: Gate features and quality of each exit; quality is accuracy with labels, else
            agreement with the last exit.
        answers: ``(n, K) int64`` top class of each exit.
        confidence: ``(n, K) float64`` softmax of the top class, at temperature 1.
        labels: ``(n,) int64``, or None.
        static: ``(n,) int64`` top class of the static model, or None where it did not run.
        static_fault: Why it did not run; empty where it did.
    """

    records: ExitRecords
    answers: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64] | None
    static: npt.NDArray[np.int64] | None
    static_fault: str

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """``(n,)`` what answers are held against: labels, or else the last exit's answers."""
        return self.answers[:, -1] if self.labels is None else self.labels

    @property
    def static_quality(self) -> npt.NDArray[np.float64]:
        """``(n,)`` quality of the static model; of the last exit where that did not run."""
        answers = self.answers[:, -1] if self.static is None else self.static
        quality: npt.NDArray[np.float64] = (answers == self.truth).astype(np.float64)
        return quality

    @property
    def units(self) -> npt.NDArray[np.int64]:
        """``(n,)`` independent unit of each sample."""
        return unit_numbers([self.records])[0]


def evaluate(runtime: Runtime, dataset: Dataset, progress: Progress) -> Evaluation:
    """Run a data set through all exits and through the static model.

    Args:
        runtime: The running bundle, opened with ``exits=False``: features count at the gates'
            default parameters.
        dataset: The samples.
        progress: Told after every batch.

    Raises:
        InputError: An output is not finite, or has not one row of classes a sample.
    """
    manifest = runtime.bundle.manifest
    answers, confidence, features = _all_exits(runtime, dataset, progress)
    truth = answers[:, -1] if dataset.labels is None else dataset.labels
    quality = (answers == truth[:, None]).astype(np.float32)
    group = dataset.group
    records = ExitRecords(
        features,
        quality,
        quality,
        "agreement" if dataset.labels is None else "accuracy",
        None if group is None else np.unique(group, return_inverse=True)[1].reshape(-1),
        gate_layout(manifest),
        1.0,
        dataset.sha256,
    )
    try:
        static, fault = _static_answers(runtime, dataset, progress), ""
    except TargetError as error:
        static, fault = None, error.message
    return Evaluation(records, answers, confidence, dataset.labels, static, fault)


def _all_exits(
    runtime: Runtime, dataset: Dataset, progress: Progress
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Return answers and confidence ``(n, K)``, and gate features ``(n, K - 1, F)``."""
    manifest = runtime.bundle.manifest
    sizes = (len(manifest.stages), len(gate_layout(manifest).features))
    answers, confidence, features = [], [], []
    for start in range(0, len(dataset), BATCH_SAMPLES):
        rows = slice(start, start + BATCH_SAMPLES)
        found = runtime.all_exits({name: array[rows] for name, array in dataset.inputs.items()})
        check_outputs(found.logits, found.features, sizes, start)
        answers.append(np.stack([array.argmax(axis=1) for array in found.logits], axis=1))
        beliefs = [log_softmax(array.astype(np.float64), 1.0) for array in found.logits]
        confidence.append(np.exp(np.stack([array.max(axis=1) for array in beliefs], axis=1)))
        features.append(np.stack(found.features, axis=1).astype(np.float32, copy=False))
        progress("running the data", min(rows.stop, len(dataset)) / len(dataset))
    return (
        np.concatenate(answers).astype(np.int64),
        np.concatenate(confidence),
        np.concatenate(features),
    )


def _static_answers(
    runtime: Runtime, dataset: Dataset, progress: Progress
) -> npt.NDArray[np.int64]:
    """Return the answers ``(n,)`` of the static model."""
    batch = _STATIC_BATCH if runtime.plan.compacts else 1
    model = WholeModel.of_bundle(runtime.bundle, runtime.machine, batch=batch)
    found: list[Array] = []
    try:
        for start in range(0, len(dataset), batch):
            # The last batch begins anew at the first sample, as the size is fixed.
            slots = np.arange(start, start + batch) % len(dataset)
            inputs = {
                spec.name: take_samples(dataset.inputs[spec.name], spec, slots)
                for spec in runtime.plan.inputs
            }
            found.append(model(inputs)[0].argmax(axis=-1))
            progress("running the static model", min(start + batch, len(dataset)) / len(dataset))
    finally:
        model.close()
    return np.concatenate(found)[: len(dataset)].astype(np.int64)


def class_count(manifest: Manifest) -> int | None:
    """Return the number of classes of the last exit, or None where its logits do not tell."""
    size = manifest.stages[-1].exit.outputs[0].shape[-1]
    return size if isinstance(size, int) else None

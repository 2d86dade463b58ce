"""Exit records of a data set, taken from the running stages of a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import Manifest
from edgeexit.calibrate.builder import RecordBuilder
from edgeexit.calibrate.checks import check_labels
from edgeexit.calibrate.kept_exits import check_early_exits
from edgeexit.calibrate.records import ExitRecords, GateLayout
from edgeexit.datasets import Dataset, load_dataset
from edgeexit.errors import InputError
from edgeexit.runtime.runtime import Runtime

BATCH_SAMPLES = 256
"""Samples handed to the engines at once."""

Data = str | Path | Mapping[str, Any] | Dataset
"""A data set, or what :func:`edgeexit.datasets.load_dataset` reads one from."""

Progress = Callable[[int, int], None]
"""Called with the number of samples done and the number in all."""


def collect_records(
    runtime: Runtime,
    manifest: Manifest,
    dataset: Dataset,
    progress: Progress | None = None,
    answers: list[npt.NDArray[np.int64]] | None = None,
) -> ExitRecords:
    """Run every sample through every stage and return the exit records.

    Samples run in random order (fixed seed), since the temperature is fitted on the first 2,000
    and data sets are often sorted by class.

    Args:
        runtime: The running bundle.
        manifest: Its manifest.
        dataset: The data set, its labels already checked against the model.
        progress: Told after every batch.
        answers: Takes the classes ``(b, K)`` that all exits gave, batch by batch, if given.

    Raises:
        InputError: There are too few samples, or an output is not finite.
    """
    layout = gate_layout(manifest)
    builder = RecordBuilder(layout, len(manifest.stages))
    order = np.random.default_rng(0).permutation(len(dataset))
    group = None if dataset.group is None else _group_codes(dataset.group)
    for start in range(0, len(order), BATCH_SAMPLES):
        rows = order[start : start + BATCH_SAMPLES]
        outputs = runtime.all_exits({name: array[rows] for name, array in dataset.inputs.items()})
        builder.add(
            outputs.logits,
            outputs.features,
            None if dataset.labels is None else dataset.labels[rows],
            None if group is None else group[rows],
        )
        if answers is not None:
            answers.append(np.stack([array.argmax(axis=1) for array in outputs.logits], axis=1))
        if progress is not None:
            progress(min(start + BATCH_SAMPLES, len(order)), len(order))
    return builder.build(dataset.sha256)


def gate_layout(manifest: Manifest) -> GateLayout:
    """Return the layout that all gates of a bundle share.

    Raises:
        InputError: Its gates differ, or there is none.
    """
    check_early_exits(manifest)
    layouts = {GateLayout.of(stage.gate) for stage in manifest.stages if stage.gate}
    if len(layouts) != 1:
        raise InputError(
            f"this bundle has {len(layouts)} different gates; a policy needs one gate at all "
            "exits but the last.",
            hint="compile with a single --gate.",
            code="policy.gates",
        )
    return layouts.pop()


def read_data(data: Data, manifest: Manifest) -> Dataset:
    """Return the data set, checked against the model's inputs and classes.

    Raises:
        InputError: It does not fit the model.
    """
    classes = manifest.stages[-1].exit.outputs[0].shape[-1]
    if isinstance(data, Dataset):
        if data.labels is not None and isinstance(classes, int):
            check_labels(data.labels, classes, len(data))
        return data
    return load_dataset(
        data,
        inputs=manifest.inputs,
        classes=manifest.classes,
        class_count=classes if isinstance(classes, int) else None,
    )


def share_groups(labelled: Dataset, unlabelled: Dataset) -> tuple[Dataset, Dataset]:
    """Number the groups of two data sets alike, so that a clip in both stays one unit."""
    if labelled.group is None or unlabelled.group is None:
        return labelled, unlabelled
    names = np.concatenate([labelled.group, unlabelled.group])
    codes = np.unique(names, return_inverse=True)[1].reshape(-1).astype(np.int64)
    size = len(labelled)
    return (
        dataclasses.replace(labelled, group=codes[:size]),
        dataclasses.replace(unlabelled, group=codes[size:]),
    )


def _group_codes(group: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return groups as integers; integers are kept as they are."""
    if group.dtype.kind in "iu":
        return group.astype(np.int64)
    return np.unique(group, return_inverse=True)[1].reshape(-1).astype(np.int64)

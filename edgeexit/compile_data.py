"""The data that a compilation looks at: to trace, to quantize, to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgeexit.bundle.specs import Manifest, TensorSpec
from edgeexit.datasets import Dataset, load_dataset
from edgeexit.errors import InputError
from edgeexit.samples import random_inputs

Source = str | Path | Mapping[str, Any]
"""Anything that :func:`~edgeexit.datasets.load_dataset` takes."""

Arrays = Mapping[str, npt.NDArray[Any]]

_RANDOM_SAMPLES = 32


def load_labelled(
    data: Source | None,
    inputs: Sequence[TensorSpec],
    classes: Sequence[str] | None,
    class_count: int | None,
) -> Dataset | None:
    """Return the data of the parity report, checked against the model; None without any.

    Raises:
        InputError: It cannot be read, or does not fit.
    """
    if data is None:
        return None
    return load_dataset(data, inputs=inputs, classes=classes, class_count=class_count)


def trace_samples(data: Source | None, count: int) -> Arrays | None:
    """Return the first inputs of a data set, to trace a torch module with; None where it has none.

    None, too, where they are not fit for that, such as images to be preprocessed: the data's real
    check comes later.
    """
    try:
        return None if data is None else load_dataset(data, limit=count).inputs
    except InputError:
        return None


def first_rows(inputs: Arrays, count: int) -> dict[str, npt.NDArray[Any]]:
    """Return the first ``count`` samples."""
    return {name: array[:count] for name, array in inputs.items()}


def single_rows(data: Dataset, most: int) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yield the first samples one by one, at most ``most`` of them."""
    for row in range(min(len(data), most)):
        yield {name: array[row : row + 1] for name, array in data.inputs.items()}


def parity_inputs(manifest: Manifest, data: Dataset | None, most: int) -> dict[str, Any]:
    """Return at most ``most`` real inputs where there are some, else random ones."""
    if data is not None:
        return first_rows(data.inputs, most)
    return random_inputs(manifest.inputs, _RANDOM_SAMPLES)

"""What the rest of the room gets of the data: plain arrays, split three ways. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import BATCH, TensorSpec

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]

TOKENS, MASK, IMAGE = "input_ids", "attention_mask", "image"
"""Names of the inputs: the numbers of a text's tokens, 1 for a token and 0 for padding, pixels."""


@dataclass(frozen=True)
class LabelledSet:
    """Samples with a class each.

    Attributes:
        inputs: One array an input by name, samples along the first axis: ``input_ids`` and
            ``attention_mask`` ``(n, length) int64``, ``image`` ``(n, C, H, W) uint8``, or what an
            ``.npz`` of ready inputs holds.
        labels: ``(n,) int64`` class numbers.
        group: ``(n,)`` what each sample came from (a clip, a patient), or None.
    """

    inputs: Mapping[str, Array]
    labels: Labels
    group: Array | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> LabelledSet:
        """Return the samples at ``rows``, in that order."""
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        group = None if self.group is None else self.group[rows]
        return LabelledSet(inputs, self.labels[rows], group)


@dataclass(frozen=True)
class TuneData:
    """The data of a tuning run. No sample lies in two of the three sets.

    Attributes:
        train: What is learned from.
        validation: What early stopping reads; empty where the share is 0.
        calibration: Kept for ``edgeexit calibrate`` and the quantizer; empty where the share is 0.
        classes: Class names; labels index them.
        inputs: Name, dtype and shape of each input, batch axis first.
    """

    train: LabelledSet
    validation: LabelledSet
    calibration: LabelledSet
    classes: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]

    @property
    def sha256(self) -> str:
        """Digest of every array and class name; a resumed run compares it."""
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for part in (self.train, self.validation, self.calibration):
            for name, array in (*sorted(part.inputs.items()), ("", part.labels)):
                digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def specs_of(inputs: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    """Return name, dtype and shape of each input; the batch is dynamic."""
    return tuple(
        TensorSpec(name, array.dtype.name, (BATCH, *array.shape[1:]))
        for name, array in inputs.items()
    )


def image_size(data: TuneData) -> tuple[int, int] | None:
    """Return height and width of the images, channels first; None where the data is no images."""
    shapes = [spec.shape for spec in data.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return None
    height, width = shapes[0][2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None

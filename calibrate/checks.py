"""Checks of what a calibration data set and a model's exits hand in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.errors import InputError

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]


def check_labels(labels: Array, classes: int, size: int, first: int = 0) -> Integers:
    """Return ``labels`` as int64.

    Args:
        labels: ``(n,)``.
        classes: Number of classes C.
        size: Number of samples n.
        first: Position of ``labels[0]`` in the data set, for the message.

    Raises:
        InputError: They are no integers in [0, C).
    """
    if labels.shape != (size,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels are {labels.dtype} of shape {labels.shape}; right is one integer for each of "
            f"the {size} samples.",
            hint="give class indices, counted from 0.",
            code="data.labels",
        )
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise InputError(
            f"label {labels[bad[0]]} of sample {first + bad[0]} is out of range: this model has "
            f"{classes} classes, 0 to {classes - 1} ({len(bad)} such labels).",
            hint="give class indices, counted from 0, in the order the model was trained with.",
            code="data.labels",
        )
    return labels.astype(np.int64)


def check_variety(labels: Array) -> None:
    """Refuse labels that are all alike: what they say of the exits, they say of one class.

    Raises:
        InputError: There are two samples or more, and one class.
    """
    if len(labels) > 1 and (labels == labels[0]).all():
        raise InputError(
            f"all {len(labels)} labels are class {labels[0]}: exits fitted to one class are wrong "
            "for the others; right is a sample of what the model will see.",
            hint="draw the samples from all classes, or ignore the labels with --label-free.",
            code="data.one-class",
        )


def check_group(group: Array, size: int) -> Integers:
    """Return ``group`` as int64.

    Raises:
        InputError: It is not one integer for each of ``size`` samples.
    """
    if group.shape != (size,) or group.dtype.kind not in "iu":
        raise InputError(
            f"groups are {group.dtype} of shape {group.shape}; right is one integer for each of "
            f"the {size} samples.",
            hint="number the clips, patients or sites that samples come from.",
            code="data.group",
        )
    return group.astype(np.int64)


def check_outputs(
    logits: Sequence[Array], features: Sequence[Array], sizes: tuple[int, int], first: int = 0
) -> None:
    """Check what all exits gave for one batch of b samples.

    Args:
        logits: K arrays ``(b, C_k)``.
        features: K - 1 arrays ``(b, F)``.
        sizes: K and F.
        first: Position of the batch in the data set, for messages.

    Raises:
        InputError: An array is missing, has another shape, or holds NaN or Inf.
    """
    exits, width = sizes
    if len(logits) != exits or len(features) != exits - 1:
        raise InputError(
            f"got logits of {len(logits)} exits and features of {len(features)} gates; "
            f"right are {exits} and {exits - 1}.",
            hint="pass the outputs of all exits, as Runtime.all_exits gives them.",
            code="records.shape",
        )
    size = len(logits[0])
    for number, array in enumerate(logits, 1):
        _check_array(f"logits of exit {number}", array, (size, None), first)
    for number, array in enumerate(features, 1):
        _check_array(f"features of gate {number}", array, (size, width), first)


def _check_array(name: str, array: Array, shape: tuple[int, int | None], first: int) -> None:
    """Check one array of a batch; None in ``shape`` stands for any number."""
    size, width = shape
    if array.ndim != 2 or len(array) != size or width not in (None, array.shape[1]):
        raise InputError(
            f"the {name} have shape {array.shape}; right is ({size}, {width or 'classes'}).",
            hint="pass arrays with one row a sample, all of one batch.",
            code="records.shape",
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise InputError(
            f"the {name} are not finite for sample {first + bad[0]} ({len(bad)} such samples in "
            "this batch); right are finite numbers.",
            hint="look for NaN or Inf in that sample, then run `edgeexit verify`.",
            code="records.nan",
        )

"""What makes data unfit for learning: classes without samples, inputs a backbone cannot take."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeexit.bundle.jsonfile import is_safe_text
from edgeexit.bundle.specs import TensorSpec
from edgeexit.dmpo.data.dataset import Array, LabelledSet, Labels, TuneData, specs_of
from edgeexit.dmpo.data.fault import data_error

if TYPE_CHECKING:
    from edgeexit.dmpo.families.base import InputShape

_SHOWN = 5
"""Most class names in a message."""


def check_classes(labels: Labels, classes: Sequence[str], where: str) -> None:
    """Check that there is something to tell apart, and a training sample of every class.

    Args:
        labels: Class numbers of the training data.
        classes: Class names.
        where: Name of the training data, for messages.

    Raises:
        InputError: There are fewer than 2 classes, one has no sample, or a name cannot be written.
    """
    for number, name in enumerate(classes):
        if not name.strip() or not is_safe_text(name):
            raise data_error(
                f"the name of class {number} of {where} is {ascii(name)[:60]}; words without "
                "control characters were expected.",
                "class-name",
                "give the class another name.",
            )
    if len(classes) < 2:
        raise data_error(
            f"{where} has one class, {classes[0]!r}; at least 2 were expected.",
            "classes",
            "give data with the samples of every class.",
        )
    missing = np.setdiff1d(np.arange(len(classes)), labels)
    if len(missing):
        names = ", ".join(repr(classes[number]) for number in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise data_error(
            f"{where} has no sample of class {names}{more}; every class needs one.",
            "class-missing",
            "add samples of it, or number the classes without gaps.",
        )


def check_same_inputs(part: LabelledSet, inputs: Sequence[TensorSpec], where: str) -> None:
    """Check that a set has the inputs of the training data.

    Raises:
        InputError: A name, type or shape differs.
    """
    found = specs_of(part.inputs)
    if found != tuple(inputs):
        raise data_error(
            f"{where} holds {_listed(found)}; the training data holds {_listed(inputs)}.",
            "inputs",
            "prepare both in the same way; data.size resizes images.",
        )


def fit_inputs(data: TuneData, wanted: Sequence[InputShape]) -> TuneData:
    """Return the data with its inputs named and ordered as a backbone takes them.

    Raw images (``uint8``) serve a backbone that takes ``float32`` ones, and grey images one of
    several channels: the model's first layer scales them.

    Args:
        data: The data of the run.
        wanted: The inputs of the backbone.

    Raises:
        InputError: An input is missing, of another type or shape, or holds a value that the
            backbone does not know.
    """
    found = {spec.name: spec for spec in data.inputs}
    names = [shape.name for shape in wanted]
    if len(names) == 1 and len(found) == 1:
        renamed = {next(iter(found)): names[0]}
    else:
        renamed = {name: name for name in found}
    if set(renamed.values()) != set(names):
        raise data_error(
            f"the data holds {_listed(data.inputs)}; the backbone takes {', '.join(names)}.",
            "inputs",
            "name the arrays as the backbone's inputs, or choose a backbone for this data.",
        )
    back = {new: old for old, new in renamed.items()}
    for shape in wanted:
        _check_shape(found[back[shape.name]], shape)
    inputs = tuple(dataclasses.replace(found[back[name]], name=name) for name in names)
    train, validation, calibration = (
        LabelledSet({name: part.inputs[back[name]] for name in names}, part.labels, part.group)
        for part in (data.train, data.validation, data.calibration)
    )
    for part in (train, validation, calibration):
        for shape in wanted:
            _check_values(part.inputs[shape.name], shape)
    return TuneData(train, validation, calibration, data.classes, inputs)


def _check_shape(found: TensorSpec, wanted: InputShape) -> None:
    pixels = found.dtype == "uint8" and len(found.shape) == 4
    sizes = found.shape[1:]
    grey = pixels and sizes[0] == 1 and len(wanted.shape) == 3
    fits = len(sizes) == len(wanted.shape) and all(
        size == want or (axis == 0 and grey)
        for axis, (size, want) in enumerate(zip(sizes, wanted.shape, strict=True))
    )
    if not fits:
        height_width = list(wanted.shape[1:])
        raise data_error(
            f"input {found.name!r} has the shape {found.shape}; the backbone takes "
            f"{('batch', *wanted.shape)}.",
            "shape",
            f"set data.size = {height_width}, or give images of the backbone's channels."
            if pixels
            else "prepare the data for this backbone.",
        )
    if found.dtype != wanted.dtype and not pixels:
        raise data_error(
            f"input {found.name!r} is {found.dtype}; the backbone takes {wanted.dtype}.",
            "dtype",
            f"convert it yourself, for example with array.astype('{wanted.dtype}').",
        )


def _check_values(array: Array, wanted: InputShape) -> None:
    if wanted.count is None or not array.size:
        return
    odd = next((n for n in (array.min(), array.max()) if not 0 <= n < wanted.count), None)
    if odd is not None:
        raise data_error(
            f"input {wanted.name!r} holds {odd}; the backbone takes 0 to {wanted.count - 1}.",
            "range",
            "take the tokenizer that belongs to the backbone; a mask is 1 for a token, else 0.",
        )


def _listed(inputs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype} {list(spec.shape[1:])}" for spec in inputs)

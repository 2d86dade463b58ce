"""Shapes, dtypes and example values of a model's inputs, from what the user gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.errors import InputError

Shape = Sequence[int | str | None]
"""Sizes of an input's axes; ``None`` or ``"batch"`` first for a dynamic batch, a name for another
dynamic axis."""

InputShapes = Shape | Mapping[str, Shape]
"""The shape of the only input, or of each input by name."""

Samples = Mapping[str, npt.NDArray[Any]]
"""Sample inputs by name, samples along axis 0."""

_EXAMPLE_ROWS = 2
"""torch specialises sizes of 0 and 1, so a batch that stays dynamic is shown as 2."""

_EXAMPLE_SIZE = 16
"""Size shown for another dynamic axis."""


def shapes_by_name(input_shape: InputShapes, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return a shape for each input it is given for.

    Raises:
        InputError: An input is unknown, or one shape is given for several inputs.
    """
    if not isinstance(input_shape, Mapping):
        if len(names) != 1:
            raise InputError(
                f"one shape was given, and the model has {len(names)} inputs: {', '.join(names)}.",
                hint="give a shape for each input by name.",
                code="input.shape",
            )
        input_shape = {names[0]: input_shape}
    unknown = [name for name in input_shape if name not in names]
    if unknown:
        raise InputError(
            f"the model has no input {unknown[0]!r}; its inputs are {', '.join(names)}.",
            hint="give shapes by the names of the model's inputs.",
            code="input.name",
        )
    return {name: tuple(shape) for name, shape in input_shape.items()}


def example_inputs(
    names: tuple[str, ...], input_shape: InputShapes | None, samples: Samples | None
) -> tuple[dict[str, Any], dict[str, dict[int, str]]]:
    """Return example inputs, and the names of their dynamic axes by axis."""
    shapes = (
        {}
        if input_shape is None
        else shapes_by_name(
            input_shape, names[:1] if not isinstance(input_shape, Mapping) else names
        )
    )
    arrays = dict(samples or {})
    if len(arrays) == 1 and not set(arrays) <= set(names):
        arrays = {names[0]: next(iter(arrays.values()))}
    if not shapes and not arrays:
        raise InputError(
            "exporting a torch module needs the shapes of its inputs.",
            hint=f"give --input-shape for {', '.join(names)}, or sample inputs with --data.",
            code="input.shape",
        )
    unknown = sorted(set(arrays) - set(names))
    if unknown:
        raise InputError(
            f"the model's forward has no argument {unknown[0]!r}; it has {', '.join(names)}.",
            hint="name the samples as the arguments of forward.",
            code="input.name",
        )
    examples, dynamic = {}, {}
    for name in (n for n in names if n in shapes or n in arrays):
        array = arrays.get(name)
        shape = shapes.get(name, (None, *array.shape[1:]) if array is not None else ())
        dynamic[name] = _dynamic_axes(shape)
        size = tuple(
            _EXAMPLE_ROWS
            if axis == 0 and axis in dynamic[name]
            else _EXAMPLE_SIZE
            if axis in dynamic[name]
            else int(dim)
            for axis, dim in enumerate(shape)
        )
        examples[name] = _example(array, size)
    return examples, dynamic


def _dynamic_axes(shape: Sequence[int | str | None]) -> dict[int, str]:
    names = {axis: dim for axis, dim in enumerate(shape) if not isinstance(dim, int)}
    return {axis: dim or ("batch" if axis == 0 else f"dim_{axis}") for axis, dim in names.items()}


def _example(array: Any, size: tuple[int, ...]) -> Any:
    """Return an array of the given size, cut and repeated from the sample where there is one."""
    if array is None:
        return np.random.default_rng(0).standard_normal(size).astype(np.float32)
    if array.ndim != len(size) or not array.size:
        raise InputError(
            f"a sample input of shape {array.shape} does not fit the shape {size}.",
            hint="samples lie along axis 0 of non-empty arrays.",
            code="input.shape",
        )
    for axis, length in enumerate(size):
        array = np.take(array, np.arange(length) % array.shape[axis], axis=axis)
    return np.ascontiguousarray(array)

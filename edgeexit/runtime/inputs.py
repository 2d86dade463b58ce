"""What a caller hands in, checked: names, types, shapes, and no NaN or infinity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import BATCH, TensorSpec
from edgeexit.errors import InputError
from edgeexit.runtime.device_inputs import DeviceInput, is_on_device
from edgeexit.runtime.sizes import solve_sizes
from edgeexit.targets.buffer import storage_dtype

Inputs = npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]
"""One array where the model has one input, else arrays by input name.

On a target that takes them, arrays in the GPU's memory as well (``__dlpack__`` or
``__cuda_array_interface__``), each with its batch axis. They are not searched for NaN and infinity,
for that would take what they save: a copy to the host.
"""

Array = npt.NDArray[Any] | DeviceInput

OnInvalid = Literal["error", "last_exit"]

_DOT_LIMIT = 8192
"""Up to this many elements a dot product finds NaN and infinity fastest; beyond it BLAS may wake
threads, which then spin beside the engine's own."""

_REMEMBERED = 256
"""Shapes whose solution is remembered before all are forgotten."""


@dataclass(slots=True)
class Checked:
    """Inputs that fit the model.

    Attributes:
        arrays: One array an input, in the model's order, each with its batch axis.
        rows: Number of samples.
        symbols: Sizes of the symbols other than the batch, in the plan's order.
        rejected: ``(rows,) bool``, True where a sample holds NaN or infinity; None if none does.
    """

    arrays: tuple[Array, ...]
    rows: int
    symbols: tuple[int, ...]
    rejected: npt.NDArray[np.bool_] | None = None


class InputCheck:
    """Checks inputs against their specs; one object serves all threads.

    Args:
        specs: The model's inputs in order.
        symbols: Symbols other than the batch, in the order in which sizes are returned.
        check_finite: Whether floating-point inputs are searched for NaN and infinity.
        on_invalid: ``error`` raises; ``last_exit`` marks such samples as rejected.
        device_arrays: Whether arrays in the GPU's memory are taken too.
    """

    def __init__(
        self,
        specs: tuple[TensorSpec, ...],
        symbols: tuple[str, ...],
        *,
        check_finite: bool,
        on_invalid: OnInvalid,
        device_arrays: bool = False,
    ) -> None:
        self._device_arrays = device_arrays
        self._specs = specs
        self._symbols = symbols
        self._names = tuple(spec.name for spec in specs)
        self._dtypes = tuple(storage_dtype(spec.dtype) for spec in specs)
        self._floats = tuple(
            i for i, dtype in enumerate(self._dtypes) if dtype.kind == "f" and check_finite
        )
        self._on_invalid = on_invalid
        self._known: dict[tuple[tuple[int, ...], ...], tuple[int, tuple[int, ...]]] = {}

    def __call__(self, inputs: Inputs) -> Checked:
        """Return the inputs in order, with the number of samples.

        An array with one axis less than its input is taken as one sample.

        Raises:
            InputError: A name is missing or unknown, a type differs (nothing is cast), a shape
                does not fit, there is no sample, or a value is NaN or infinite.
        """
        arrays = self._gather(inputs)
        for index, array in enumerate(arrays):
            if array.dtype != self._dtypes[index]:
                raise self._wrong_type(index, array)
        shapes = tuple(array.shape for array in arrays)
        found = self._known.get(shapes)
        if found is None:
            arrays, found = self._solve(arrays)
        checked = Checked(arrays, *found)
        for index in self._floats:
            array = arrays[index]
            if isinstance(array, np.ndarray) and not _finite(array):
                self._reject(checked, index, array)
        return checked

    def _gather(self, inputs: Inputs) -> tuple[Array, ...]:
        if isinstance(inputs, np.ndarray) and len(self._names) == 1:
            return (_plain(inputs),)
        if len(self._names) == 1 and self._device_arrays and is_on_device(inputs):
            return (DeviceInput(inputs),)
        if not isinstance(inputs, Mapping) or len(inputs) != len(self._names):
            raise self._wrong_names(inputs)
        try:
            arrays: list[Array] = [inputs[name] for name in self._names]
        except KeyError:
            raise self._wrong_names(inputs) from None
        for index, (name, array) in enumerate(zip(self._names, arrays, strict=True)):
            if isinstance(array, np.ndarray):
                arrays[index] = _plain(array)
                continue
            if self._device_arrays and is_on_device(array):
                arrays[index] = DeviceInput(array)
            else:
                raise InputError(
                    f"input {name!r} is a {type(array).__name__}, not a numpy array.",
                    hint="convert it with numpy.asarray first.",
                    code="input.type",
                )
        return tuple(arrays)

    def _solve(
        self, arrays: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[int, tuple[int, ...]]]:
        # Fewer axes than the spec: one sample, whose shape is never remembered.
        whole = tuple(
            np.expand_dims(array, spec.batch_axis)
            if isinstance(array, np.ndarray)
            and array.ndim == len(spec.shape) - 1
            and spec.batch_axis is not None
            else array
            for spec, array in zip(self._specs, arrays, strict=True)
        )
        shapes = tuple(array.shape for array in whole)
        sizes = solve_sizes(self._specs, shapes)
        found = sizes[BATCH], tuple(sizes[symbol] for symbol in self._symbols)
        if all(before is after for before, after in zip(arrays, whole, strict=True)):
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[shapes] = found
        return whole, found

    def _reject(self, checked: Checked, index: int, array: npt.NDArray[Any]) -> None:
        spec = self._specs[index]
        bad = ~np.isfinite(array)
        if not bad.any():
            return
        if self._on_invalid == "error":
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            raise InputError(
                f"input {spec.name!r} holds {array[place]} at {list(place)}; "
                f"{int(bad.sum())} of its {array.size} values are not finite.",
                hint="mend the data, or open the runtime with on_invalid='last_exit'.",
                code="input.not-finite",
            )
        rows = np.ones(checked.rows, np.bool_)
        if spec.batch_axis is not None:
            rows = np.moveaxis(bad, spec.batch_axis, 0).reshape(checked.rows, -1).any(axis=1)
        checked.rejected = rows if checked.rejected is None else checked.rejected | rows

    def _wrong_type(self, index: int, array: Array) -> InputError:
        name, wanted = self._names[index], self._dtypes[index]
        return InputError(
            f"input {name!r} has type {array.dtype}, but the model takes {wanted}; nothing is "
            "cast silently.",
            hint=f"convert it: array.astype({wanted.name!r}).",
            code="input.dtype",
        )

    def _wrong_names(self, inputs: Any) -> InputError:
        wanted = ", ".join(self._names)
        if not isinstance(inputs, Mapping):
            given = f"a {type(inputs).__name__} was given"
        else:
            missing = [name for name in self._names if name not in inputs]
            unknown = sorted(str(name) for name in set(inputs) - set(self._names))
            given = "; ".join(
                f"{word}: {', '.join(names)}"
                for word, names in (("missing", missing), ("unknown", unknown))
                if names
            )
        return InputError(
            f"the inputs do not fit the model, which takes {wanted}: {given}.",
            hint="give a dict of numpy arrays by name"
            + ("." if len(self._names) > 1 else ", or the one array itself."),
            code="input.names",
        )


def check_arguments(max_batch: int | None, replicas: int, on_invalid: str) -> None:
    """Check what a runtime was opened with.

    Raises:
        InputError: One of them is out of bounds.
    """
    fault = None
    if max_batch is not None and max_batch < 1:
        fault = f"max_batch cannot be {max_batch}: 1 or more is right."
    if replicas < 1:
        fault = f"replicas cannot be {replicas}: 1 or more is right."
    if on_invalid not in ("error", "last_exit"):
        fault = f"on_invalid cannot be {on_invalid!r}: 'error' or 'last_exit' is right."
    if fault:
        raise InputError(fault, hint="correct the argument.", code="input.argument")


def _plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array without its subclass: NaN under a mask is NaN, and a matrix has no rank."""
    return array if type(array) is np.ndarray else np.asarray(array)


def _finite(array: npt.NDArray[Any]) -> bool:
    """Tell whether all values are finite; False may be a false alarm (an overflowing sum)."""
    if array.size <= _DOT_LIMIT:
        return math.isfinite(np.vdot(array, array))
    return bool(np.isfinite(array).all())

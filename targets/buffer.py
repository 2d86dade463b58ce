"""Tensors that live where an engine has them, and the ones that live in host memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import InputError, TargetError

ALIGNMENT = 64
"""Bytes; one cache line, and one AVX-512 register: engines read such memory without a copy."""

_STORAGE: Mapping[str, npt.DTypeLike] = {"bfloat16": np.uint16} | {
    name: np.dtype(name)
    for name in (
        *("float16", "float32", "float64", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
}


def storage_dtype(dtype: str) -> np.dtype[Any]:
    """Return the numpy type that holds elements of ``dtype`` (``uint16`` for ``bfloat16``).

    Raises:
        TargetError: No target moves elements of that type, e.g. ``string``.
    """
    if dtype not in _STORAGE:
        raise TargetError(
            f"element type {dtype!r} cannot cross a stage's edge: {', '.join(_STORAGE)} can.",
            hint="convert the tensor inside the model.",
            code="target.dtype",
        )
    return np.dtype(_STORAGE[dtype])


class Buffer(ABC):
    """A tensor where the engine has it, of one fixed type and shape.

    Args:
        dtype: Name of its element type as the engine holds it, e.g. ``float32``, ``bfloat16``.
        shape: Its shape.

    Raises:
        TargetError: No target moves elements of that type.
    """

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.storage = storage_dtype(dtype)

    @abstractmethod
    def host(self) -> npt.NDArray[Any]:
        """Return the contents for numpy: a view on CPU engines, a copy elsewhere.

        ``bfloat16`` comes as ``uint16``: rows may be copied, never computed on.
        """

    def write(self, array: npt.NDArray[Any]) -> None:
        """Copy ``array`` of the same shape and type into the buffer.

        Raises:
            InputError: The shape or the type differs; nothing is cast or broadcast.
        """
        if array.shape != self.shape:
            raise InputError(
                f"an array of shape {array.shape} does not fit a tensor of shape {self.shape}.",
                hint="give an array of exactly that shape.",
                code="input.shape",
            )
        if array.dtype != self.storage:
            raise InputError(
                f"an array of {array.dtype} does not fit a tensor of {self.dtype}"
                f"{' (kept as uint16)' if self.dtype == 'bfloat16' else ''}.",
                hint=f"convert it first: array.astype({self.storage.name!r}).",
                code="input.dtype",
            )
        self._write_impl(array)

    def copy(self, source: Buffer) -> None:
        """Copy another buffer of the same shape and type in.

        Raises:
            InputError: The shape or the type differs.
        """
        self.write(source.host())

    def write_samples(self, array: object, axis: int, each: int, start: int, stop: int) -> None:
        """Copy samples of an array in the device's memory in, the first repeated as padding.

        Only targets whose ``takes_device_arrays`` is True have such buffers.

        Args:
            array: Offers ``__dlpack__`` or ``__cuda_array_interface__``.
            axis: Axis of the samples.
            each: Rows of one sample along it.
            start: The first sample to copy.
            stop: The one after the last.

        Raises:
            InputError: The buffer takes numpy arrays alone, or the array does not fit.
        """
        raise InputError(
            f"a {type(array).__name__} cannot be written to a tensor in host memory.",
            hint="convert it with numpy.asarray first.",
            code="input.type",
        )

    def take(self, rows: npt.NDArray[np.intp], axis: int, out: Buffer) -> None:
        """Copy the given rows along ``axis``, in order, to the front of the buffer ``out``.

        Args:
            rows: ``(N,) intp`` positions along ``axis``; may repeat.
            axis: Axis of the rows, in both buffers.
            out: A buffer of the same type and shape but for ``axis``, where it holds N rows or
                more; the rows behind the first N keep what they held.

        Raises:
            InputError: A row lies outside the buffer, or ``out`` does not fit.
        """
        self._check_take(rows, axis, out)
        if rows.size:
            self._take_impl(rows, axis, out)

    def _check_take(self, rows: npt.NDArray[np.intp], axis: int, out: Buffer) -> None:
        if rows.ndim != 1 or rows.dtype != np.intp or not 0 <= axis < len(self.shape):
            raise InputError(
                f"rows of {rows.dtype} and shape {rows.shape} along axis {axis} do not name rows "
                f"of a tensor of shape {self.shape}: (N,) intp along one of its axes does.",
                hint="numpy.flatnonzero returns such rows.",
                code="input.rows",
            )
        # Seen as unsigned, a negative row is a huge one: one comparison instead of two.
        if rows.size and rows.view(np.uintp).max() >= self.shape[axis]:
            raise InputError(
                f"rows {rows.min()} to {rows.max()} lie outside 0 to {self.shape[axis] - 1}, the "
                f"rows along axis {axis} of a tensor of shape {self.shape}.",
                hint="count rows from 0.",
                code="input.rows",
            )
        fits = (
            out is not self
            and out.dtype == self.dtype
            and len(out.shape) == len(self.shape)
            and out.shape[axis] >= rows.size
            and out.shape[:axis] == self.shape[:axis]
            and out.shape[axis + 1 :] == self.shape[axis + 1 :]
        )
        if not fits:
            raise InputError(
                f"{rows.size} rows along axis {axis} of a {self.dtype} tensor of shape "
                f"{self.shape} do not fit the tensor given for them: {out.dtype}, shape "
                f"{out.shape}{', itself' if out is self else ''}.",
                hint="take into another buffer, equal in type and in every other dimension.",
                code="input.shape",
            )

    @abstractmethod
    def _write_impl(self, array: npt.NDArray[Any]) -> None:
        """Copy a checked array into the buffer."""

    @abstractmethod
    def _take_impl(self, rows: npt.NDArray[np.intp], axis: int, out: Buffer) -> None:
        """Copy checked rows, at least one, into the checked buffer ``out``."""


class HostBuffer(Buffer):
    """A buffer in host memory, aligned and zeroed, which every CPU engine can bind in place.

    Args:
        dtype: Name of its element type.
        shape: Its shape.

    Attributes:
        array: The memory itself, of type :func:`storage_dtype`.

    Raises:
        TargetError: No target moves elements of that type.
    """

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        super().__init__(dtype, shape)
        size = int(np.prod(shape)) * self.storage.itemsize
        memory = np.zeros(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        self.array: npt.NDArray[Any] = (
            memory[start : start + size].view(self.storage).reshape(shape)
        )

    def host(self) -> npt.NDArray[Any]:
        """Return a view of the contents; it changes when the engine writes again."""
        return self.array

    def _write_impl(self, array: npt.NDArray[Any]) -> None:
        np.copyto(self.array, array)

    def _take_impl(self, rows: npt.NDArray[np.intp], axis: int, out: Buffer) -> None:
        front = out.host()[(slice(None),) * axis + (slice(rows.size),)]
        # With mode="raise" numpy would go through a copy of ``out``; the rows are checked.
        np.take(self.array, rows, axis=axis, out=front, mode="clip")


def host_buffers(specs: Iterable[TensorSpec], dims: Mapping[str, int]) -> dict[str, HostBuffer]:
    """Return a host buffer for each tensor at the given sizes, by name.

    Raises:
        InputError: A symbol has no value among ``dims``.
        TargetError: No target moves elements of a tensor's type.
    """
    return {spec.name: HostBuffer(spec.dtype, spec.resolve(dims)) for spec in specs}

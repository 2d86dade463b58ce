"""Arrays of other libraries in the GPU's memory: in and out without the host.

Out: ``__dlpack__`` and ``__cuda_array_interface__`` (version 3) of a device buffer give its memory
itself. In: a buffer's ``write`` copies from either, on the device. The order of streams is kept as
the two protocols ask; where they leave it open, we wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from edgeexit.errors import InputError
from edgeexit.targets.tensorrt import capsules
from edgeexit.targets.tensorrt.capsules import CUDA, CUDA_MANAGED, Taken

if TYPE_CHECKING:
    from edgeexit.targets.tensorrt.buffers import DeviceBuffer
    from edgeexit.targets.tensorrt.stream import Stream

DEVICE = (CUDA, 0)
"""DLPack's words for the GPU that the stages run on."""

_LEGACY_STREAM = 1
"""``cudaStreamLegacy``, which the CUDA array interface names 1 as well."""

_NO_WAIT = -1


@runtime_checkable
class OffersDlpack(Protocol):
    """An array of the array API standard."""

    def __dlpack__(self, *, stream: Any = None) -> object:
        """Return a capsule."""

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return device type and number."""


@runtime_checkable
class OffersCudaArray(Protocol):
    """An array with Numba's CUDA array interface."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Describe the memory."""


DeviceArray = OffersDlpack | OffersCudaArray


def array_interface(buffer: DeviceBuffer) -> dict[str, Any]:
    """Return a buffer's memory in the CUDA array interface; ``bfloat16`` as ``uint16``."""
    return {
        "shape": buffer.shape,
        "typestr": buffer.storage.str,
        "data": (buffer.address, False),
        "strides": None,
        "version": 3,
        "stream": buffer.session.stream.handle,
    }


def capsule(
    buffer: DeviceBuffer, stream: int | None, device: tuple[int, int] | None, copy: bool | None
) -> object:
    """Return a DLPack capsule of a buffer's memory; see ``DeviceBuffer.__dlpack__``.

    Raises:
        BufferError: A copy or another device is asked for.
    """
    if copy or (device is not None and tuple(device) != DEVICE):
        raise BufferError(
            f"this tensor can only be shared where it lies, DLPack device {DEVICE}; "
            f"device {device} and copy={copy} were asked for."
        )
    address, own = buffer.address, buffer.session.stream
    if stream != _NO_WAIT and stream != own.handle:
        own.wait(own.issued)
    return capsules.export(buffer, address, buffer.dtype, buffer.shape, DEVICE)


@dataclass(frozen=True)
class View:
    """Another library's array, lying row by row in the GPU's memory.

    Attributes:
        address: Where it lies.
        shape: Its shape.
        dtype: Name of its element type.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str


@contextmanager
def opened(array: object, stream: Stream) -> Iterator[View]:
    """Lend another library's array to work that is put into a stream in the block.

    Work that was to write it has gone before then. Put copies of it in and wait for them before
    the block ends: afterwards it may be overwritten or freed.

    Args:
        array: It, with either protocol.
        stream: The device's stream.

    Raises:
        InputError: It offers neither protocol, or does not lie there row by row.
        TargetError: CUDA refused.
    """
    if isinstance(array, OffersDlpack):
        taken = _take_capsule(array, stream)
        view = View(taken.address(), taken.shape(), taken.dtype())
        strides = taken.strides()
        if strides is not None:
            _check_rows(view.shape, strides, 1)
        try:
            yield view
        finally:
            taken.release()
    elif isinstance(array, OffersCudaArray):
        yield _read_interface(array.__cuda_array_interface__, stream)
    else:
        raise InputError(
            f"a {type(array).__name__} is neither a numpy array nor one on the GPU.",
            hint="give a numpy array, or one with __dlpack__ or __cuda_array_interface__.",
            code="input.type",
        )


def check_samples(view: View, buffer: DeviceBuffer, axis: int) -> None:
    """Check an array against a buffer that takes some of its rows along ``axis``.

    Raises:
        InputError: Type or another dimension differs.
    """
    there = (*buffer.shape[:axis], *view.shape[axis : axis + 1], *buffer.shape[axis + 1 :])
    if view.shape != there:
        raise InputError(
            f"an array of shape {view.shape} does not fit a tensor of shape {buffer.shape}, "
            f"whatever its size along axis {axis}.",
            hint="give an array that is equal in every other dimension.",
            code="input.shape",
        )
    check_like(buffer.shape, view.dtype, buffer)


def check_like(shape: tuple[int, ...], dtype: str, buffer: DeviceBuffer) -> None:
    """Check an array's shape and type against a buffer's.

    Raises:
        InputError: One differs.
    """
    if shape != buffer.shape:
        raise InputError(
            f"an array of shape {shape} does not fit a tensor of shape {buffer.shape}.",
            hint="give an array of exactly that shape.",
            code="input.shape",
        )
    if dtype not in (buffer.dtype, buffer.storage.name):
        raise InputError(
            f"an array of {dtype} does not fit a tensor of {buffer.dtype}.",
            hint="convert it first, where it lies: nothing is cast.",
            code="input.dtype",
        )


def _take_capsule(array: OffersDlpack, stream: Stream) -> Taken:
    kind, number = array.__dlpack_device__()
    if kind == capsules.CPU:
        raise _elsewhere("in the CPU's memory", "numpy.asarray(array) makes a numpy array of it.")
    if kind not in (CUDA, CUDA_MANAGED) or number != DEVICE[1]:
        raise _elsewhere(f"on DLPack device ({kind}, {number})", f"copy it to GPU {DEVICE[1]}.")
    try:
        # Told our stream, the producer lets it wait for what is still writing the array.
        return Taken(array.__dlpack__(stream=stream.handle))
    except (BufferError, RuntimeError, ValueError) as error:
        raise InputError(
            f"a {type(array).__name__} cannot be read through DLPack: {error}.",
            hint="give a plain array, detached from any computation.",
            code="input.type",
        ) from error


def _read_interface(interface: Mapping[str, Any], stream: Stream) -> View:
    shape = tuple(interface["shape"])
    dtype = np.dtype(interface["typestr"])
    strides = interface.get("strides")
    if strides is not None:
        _check_rows(shape, tuple(strides), dtype.itemsize)
    if interface.get("mask") is not None:
        raise _elsewhere("under a mask", "fill in the masked values first.")
    # Before version 3 nothing told the stream: the legacy one, on which most libraries work.
    legacy = None if interface.get("version", 0) >= 3 else _LEGACY_STREAM
    producer = interface.get("stream", legacy)
    if producer is not None and producer != stream.handle:
        stream.cuda.stream_synchronize(producer)
    return View(interface["data"][0], shape, dtype.name if dtype.isnative else str(dtype))


def _check_rows(shape: tuple[int, ...], strides: tuple[int, ...], step: int) -> None:
    """Check that elements follow each other, the last axis fastest; axes of size 1 may step."""
    if 0 in shape:
        return
    for axis in range(len(shape) - 1, -1, -1):
        wanted = math.prod(shape[axis + 1 :]) * step
        if shape[axis] != 1 and strides[axis] != wanted:
            raise _elsewhere(
                f"with the steps {strides} between its elements",
                "make it contiguous first, e.g. array.contiguous() or ascontiguousarray(array).",
            )


def _elsewhere(where: str, hint: str) -> InputError:
    return InputError(
        f"an array {where} cannot be copied on the GPU: it must lie there, row by row.",
        hint=hint,
        code="input.device",
    )

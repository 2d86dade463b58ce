"""Tensors in the GPU's memory, and those of which the host always has a copy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.errors import TargetError
from edgeexit.targets.buffer import Buffer
from edgeexit.targets.tensorrt import exchange
from edgeexit.targets.tensorrt.gather import Places, take
from edgeexit.targets.tensorrt.session import Session
from edgeexit.targets.tensorrt.stream import DeviceMemory, Moment, PinnedMemory

_ALIGNMENT = 256
"""Bytes; what ``cudaMalloc`` aligns to, so that parts of a block are as good as blocks."""


class DeviceBuffer(Buffer):
    """A tensor in the GPU's memory, zeroed; its memory is allocated when it is first needed.

    Other libraries read it in place through ``__dlpack__`` and ``__cuda_array_interface__``.

    Args:
        session: The device in use.
        dtype: Name of its element type.
        shape: Its shape.

    Attributes:
        session: As given.
        size: Its bytes.

    Raises:
        TargetError: No target moves elements of that type.
    """

    def __init__(self, session: Session, dtype: str, shape: tuple[int, ...]) -> None:
        super().__init__(dtype, shape)
        self.session = session
        self.size = int(np.prod(shape)) * self.storage.itemsize
        self._memory: DeviceMemory | None = None
        self._staging: PinnedMemory | None = None
        self._places: Places | None = None
        self._sent = 0

    @property
    def address(self) -> int:
        """Where it lies on the device.

        Raises:
            TargetError: The device has no memory left for it.
        """
        if self._memory is None:
            self._memory = self.session.stream.device_memory(self.size)
        return self._memory.address

    def host(self) -> npt.NDArray[Any]:
        """Return a copy of the contents, waiting for all work before it: the slow path.

        Raises:
            TargetError: Work on the device failed.
        """
        stream, address, staging = self.session.stream, self.address, self._pinned()
        with stream.turn() as number:
            stream.cuda.copy(staging.address, address, self.size, stream.handle)
        stream.wait(number)
        return staging.array(0, self.shape, self.storage).copy()

    def write(self, array: npt.NDArray[Any] | exchange.DeviceArray) -> None:
        """Copy ``array`` of the same shape and type into the buffer.

        Args:
            array: A numpy array, or one in the GPU's memory that offers ``__dlpack__`` or
                ``__cuda_array_interface__``: it is copied on the device, without the host, and
                may be overwritten once this returns.

        Raises:
            InputError: The shape or the type differs; nothing is cast or broadcast. Or it lies in
                another memory, or not row by row.
            TargetError: CUDA refused.
        """
        if isinstance(array, (np.ndarray, np.generic)):
            super().write(array)
        else:
            stream = self.session.stream
            with exchange.opened(array, stream) as view:
                exchange.check_like(view.shape, view.dtype, self)
                stream.wait(self.copy_in(view.address) if self.size else 0)

    def copy(self, source: Buffer) -> None:
        """Copy another buffer of the same shape and type in, on the device where both lie there.

        Raises:
            InputError: The shape or the type differs.
            TargetError: CUDA refused.
        """
        if isinstance(source, DeviceBuffer) and source.session is self.session:
            exchange.check_like(source.shape, source.dtype, self)
            self.copy_in(source.address)
        else:
            super().copy(source)

    def write_samples(self, array: object, axis: int, each: int, start: int, stop: int) -> None:
        """Copy samples of an array on the GPU to the front, on the device; repeat the first behind.

        Args:
            array: As for :meth:`write`, in the GPU's memory, with more or fewer samples.
            axis: Axis of the samples.
            each: Rows of one sample along it.
            start: The first sample to copy.
            stop: The one after the last.

        Raises:
            InputError: Shape or type do not fit, or it does not lie there row by row.
            TargetError: CUDA refused.
        """
        stream, to = self.session.stream, self.address
        with exchange.opened(array, stream) as view:
            exchange.check_samples(view, self, axis)
            width = math.prod(self.shape[axis + 1 :]) * self.storage.itemsize * each
            outer, count = math.prod(self.shape[:axis]), stop - start
            pitch = view.shape[axis] // each * width
            room = self.shape[axis] // each
            first = view.address + start * width
            with stream.turn() as number:
                self.changed(number)
                copy = stream.cuda.copy_2d
                copy(to, room * width, first, pitch, count * width, outer, stream.handle)
                for place in range(count, room):
                    there = to + place * width
                    copy(there, room * width, first, pitch, width, outer, stream.handle)
            stream.wait(number)

    def copy_in(self, address: int) -> int:
        """Put a copy of as many bytes at ``address`` into the stream; returns its number.

        Raises:
            TargetError: CUDA refused.
        """
        stream, to = self.session.stream, self.address
        with stream.turn() as number:
            self.changed(number)
            stream.cuda.copy(to, address, self.size, stream.handle)
        return number

    def changed(self, number: int) -> None:
        """Note that work of that number, other than a run, changes the contents."""

    def places(self, rows: int) -> Places:
        """Return where the numbers of ``rows`` rows go that this buffer is to receive."""
        if self._places is None or self._places.rows < rows:
            self._places = Places(self.session.stream, rows)
        return self._places

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The CUDA array interface, version 3; a consumer must wait for the stream it names."""
        return exchange.array_interface(self)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's words for the GPU."""
        return exchange.DEVICE

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a DLPack capsule of the memory itself, all work on it done.

        Args:
            stream: The consumer's stream; -1 if no wait is wanted.
            max_version: Newest DLPack the consumer knows; what is returned, all know.
            dl_device: Where the consumer wants it; it can only be where it is.
            copy: True, which asks for a copy, is refused.

        Raises:
            BufferError: A copy or another device is asked for.
        """
        return exchange.capsule(self, stream, dl_device, copy)

    def _write_impl(self, array: npt.NDArray[Any]) -> None:
        staging = self._pinned()
        # The last copy out of the staging memory may still be under way.
        self.session.stream.wait(self._sent)
        np.copyto(staging.array(0, self.shape, self.storage), array)
        self._sent = self.copy_in(staging.address)

    def _take_impl(self, rows: npt.NDArray[np.intp], axis: int, out: Buffer) -> None:
        take(self, rows, axis, on_device(out, self.session))

    def _pinned(self) -> PinnedMemory:
        if self._staging is None:
            self._staging = self.session.stream.pinned_memory(self.size)
        return self._staging


class Mirror:
    """One block on the device and one in pinned memory, for all small outputs of a stage.

    One copy behind each run brings them to the host.

    Args:
        session: The device in use.
        size: Bytes of the block.
        moment: Recorded behind each copy.
    """

    def __init__(self, session: Session, size: int, moment: Moment) -> None:
        self.device = session.stream.device_memory(size)
        self.pinned = session.stream.pinned_memory(size)
        self.moment = moment


class MirroredBuffer(DeviceBuffer):
    """A part of a :class:`Mirror`: an output that the host reads after a run.

    Args:
        session: The device in use.
        dtype: Name of its element type.
        shape: Its shape.
        mirror: What it is a part of.
        offset: Where it begins there.
    """

    def __init__(
        self, session: Session, dtype: str, shape: tuple[int, ...], mirror: Mirror, offset: int
    ) -> None:
        super().__init__(session, dtype, shape)
        self._mirror = mirror
        self._offset = offset
        self._array = mirror.pinned.array(offset, shape, self.storage)
        self._place = mirror.pinned.address + offset
        self._changed = 0

    @property
    def address(self) -> int:
        """Where it lies on the device."""
        return self._mirror.device.address + self._offset

    def host(self) -> npt.NDArray[Any]:
        """Return a view of the contents after the last run, waiting for it at most once.

        Raises:
            TargetError: Work on the device failed.
        """
        stream, moment = self.session.stream, self._mirror.moment
        if self._changed > moment.number:
            with stream.turn() as number:
                stream.cuda.copy(self._place, self.address, self.size, stream.handle)
            stream.wait(number)
            self._changed = 0
        else:
            stream.reach(moment)
        return self._array

    def changed(self, number: int) -> None:
        """Note that the host's copy is stale since the work of that number."""
        self._changed = number

    def _write_impl(self, array: npt.NDArray[Any]) -> None:
        # The host's copy is the staging memory: a run may be writing it, a copy reading it.
        self.session.stream.wait(max(self._sent, self._mirror.moment.number))
        np.copyto(self._array, array)
        self._sent = self.copy_in(self._place)
        self._changed = 0


def aligned(size: int) -> int:
    """Return ``size`` rounded up to the alignment of device memory."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def on_device(buffer: Buffer, session: Session) -> DeviceBuffer:
    """Return ``buffer`` where it lies on the device in use.

    Raises:
        TargetError: It does not.
    """
    if not isinstance(buffer, DeviceBuffer) or buffer.session is not session:
        raise TargetError(
            f"TensorRT cannot use a {type(buffer).__name__} of another engine or device in place.",
            hint="bind buffers of runners on the same target.",
            code="target.buffer",
        )
    return buffer

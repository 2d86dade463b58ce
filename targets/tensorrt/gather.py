"""Rows of a tensor on the device, taken on the device: how a batch is compacted.

A few runs of neighbouring rows are copied, each by one call. Else one small TensorRT engine takes
the rows, one and the same for all tensors: it moves 32-bit words whatever they mean. Copies also
serve what it does not take: tensors larger than it was built for, and those whose rows are no whole
number of words (booleans, an odd number of half-precision ones), which are tiny and rare, for gates
carry float32 and int32. A sample's rows follow each other, so that is at most a copy a sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeexit.targets.tensorrt.job import LARGEST_GATHER
from edgeexit.targets.tensorrt.loaded import Loaded
from edgeexit.targets.tensorrt.stream import DeviceMemory, PinnedMemory, Stream

if TYPE_CHECKING:
    from edgeexit.targets.tensorrt.buffers import DeviceBuffer

FEW_RUNS = 4
"""Runs of rows up to which copies are made: a copy is one call, the engine some six. A guess."""

_WORD = 4
_INDEX = np.dtype(np.int32)


@dataclass(frozen=True)
class Cut:
    """Which bytes move: a tensor seen as ``(outer, rows, width)``.

    Attributes:
        outer: Product of the dimensions before the axis.
        rows: Size of the axis where rows come from.
        room: Size of the axis where they go.
        width: Bytes of one row.
    """

    outer: int
    rows: int
    room: int
    width: int

    @classmethod
    def of(cls, source: DeviceBuffer, axis: int, out: DeviceBuffer) -> Cut:
        """Return the cut for rows along ``axis``."""
        shape = source.shape
        width = math.prod(shape[axis + 1 :]) * source.storage.itemsize
        return cls(math.prod(shape[:axis]), shape[axis], out.shape[axis], width)

    def fits(self, taken: int) -> bool:
        """Tell whether the gather engine can take ``taken`` rows of it."""
        outer, rows, words = LARGEST_GATHER
        sizes = (self.outer, max(self.rows, taken), self.width // _WORD)
        small = all(size <= most for size, most in zip(sizes, (outer, rows, words), strict=True))
        return self.width % _WORD == 0 and small


class Places:
    """Where a buffer keeps the rows that it is to receive, and rows on their way into it.

    Args:
        stream: The device's stream.
        rows: Rows that it can receive at once, at least 1.
    """

    def __init__(self, stream: Stream, rows: int) -> None:
        self.rows = rows
        self.pinned: PinnedMemory = stream.pinned_memory(rows * _INDEX.itemsize)
        self.device: DeviceMemory = stream.device_memory(rows * _INDEX.itemsize)
        self.spare: DeviceMemory | None = None
        self.number = 0


class Gather:
    """The engine that takes rows: ``taken[o, i, w] = data[o, rows[i], w]``, all int32.

    Args:
        stream: The device's stream.
        loaded: The engine.
        scratch: Its scratch memory.

    Raises:
        TargetError: TensorRT makes no context of it.
    """

    def __init__(self, stream: Stream, loaded: Loaded, scratch: DeviceMemory) -> None:
        self._api = loaded.api
        # In the list alone, which drops its last first: the context before what it uses.
        self._held = [loaded, scratch, self._api.context(loaded.engine)]
        self._shapes: tuple[tuple[int, ...], ...] = ()
        stream.when_gone(self, self._held.clear)
        with stream.turn():
            self._api.set_scratch(self._held[-1], scratch.address, scratch.size)

    def enqueue(self, cut: Cut, taken: int, addresses: tuple[int, int, int], stream: int) -> None:
        """Put the taking of ``taken`` rows into the stream, which the caller holds.

        Args:
            cut: Which bytes move.
            taken: Number of rows.
            addresses: Where the tensor, the rows' int32 numbers and the result lie.
            stream: CUDA's handle.

        Raises:
            TargetError: TensorRT refused.
        """
        context = self._held[-1]
        shapes = ((cut.outer, cut.rows, cut.width // _WORD), (taken,))
        if shapes != self._shapes:
            self._shapes = ()
            for name, shape in zip(("data", "rows"), shapes, strict=True):
                self._api.set_shape(context, name, shape)
            self._shapes = shapes
        for name, address in zip(("data", "rows", "taken"), addresses, strict=True):
            self._api.set_address(context, name, address)
        self._api.enqueue(context, stream)


def take(source: DeviceBuffer, rows: npt.NDArray[np.intp], axis: int, out: DeviceBuffer) -> None:
    """Put the copying of checked rows along ``axis`` to the front of ``out`` into the stream.

    Args:
        source: Where they come from.
        rows: ``(N,) intp``, N at least 1.
        axis: Axis of the rows in both.
        out: Where they go, on the same device.

    Raises:
        TargetError: CUDA or TensorRT refused.
    """
    cut = Cut.of(source, axis, out)
    if cut.outer * cut.width == 0:
        return
    starts = np.concatenate(([0], np.flatnonzero(np.diff(rows) != 1) + 1))
    few = len(starts) <= FEW_RUNS or not cut.fits(len(rows))
    gather = None if few else source.session.gather()
    if gather is None:
        _copy_runs(source, rows, starts, out, cut)
    else:
        _gather(gather, source, rows, out, cut)


def _copy_runs(
    source: DeviceBuffer,
    rows: npt.NDArray[np.intp],
    starts: npt.NDArray[np.intp],
    out: DeviceBuffer,
    cut: Cut,
) -> None:
    stream, to, origin = source.session.stream, out.address, source.address
    ends = [*starts[1:].tolist(), len(rows)]
    pitches = cut.room * cut.width, cut.rows * cut.width
    with stream.turn() as number:
        for start, end in zip(starts.tolist(), ends, strict=True):
            stream.cuda.copy_2d(
                to + start * cut.width,
                pitches[0],
                origin + int(rows[start]) * cut.width,
                pitches[1],
                (end - start) * cut.width,
                cut.outer,
                stream.handle,
            )
        out.changed(number)


def _gather(
    gather: Gather,
    source: DeviceBuffer,
    rows: npt.NDArray[np.intp],
    out: DeviceBuffer,
    cut: Cut,
) -> None:
    stream, places = source.session.stream, out.places(len(rows))
    origin, to = source.address, out.address
    # Only where whole tensors follow each other does the result lie as ``out`` wants it.
    strided = cut.outer > 1 and cut.room > len(rows)
    pitch = len(rows) * cut.width
    if strided:
        if places.spare is None or places.spare.size < cut.outer * pitch:
            places.spare = stream.device_memory(cut.outer * pitch)
        to = places.spare.address
    stream.wait(places.number)
    places.pinned.array(0, rows.shape, _INDEX)[:] = rows
    with stream.turn() as number:
        size = rows.size * _INDEX.itemsize
        stream.cuda.copy(places.device.address, places.pinned.address, size, stream.handle)
        places.number = number
        gather.enqueue(cut, rows.size, (origin, places.device.address, to), stream.handle)
        if strided:
            room = cut.room * cut.width
            stream.cuda.copy_2d(out.address, room, to, pitch, pitch, cut.outer, stream.handle)
        out.changed(number)

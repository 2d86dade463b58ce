"""The one CUDA stream of a device, its memory, and the order in which things come and go.

All work of all stages goes into one stream, so it happens in the order in which it was put there:
stages may share scratch memory, and one that reads what another wrote need not wait for it.
Work is numbered; who waits for a number knows that all work up to it is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.targets.cuda.runtime import CudaRuntime

_LOG = logging.getLogger(__name__)

_ZEROS = 1 << 16
"""Bytes of pinned zeros from which new device memory is filled; it doubles on the device."""

Action = Callable[[], object]


class DeviceMemory:
    """A block of device memory, zeroed, freed when nothing refers to it any more.

    Args:
        address: Where it lies, divisible by 256.
        size: Its bytes.
    """

    __slots__ = ("__weakref__", "address", "size")

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size


class PinnedMemory:
    """A block of pinned host memory, zeroed, freed when nothing refers to it any more.

    Args:
        address: Where it lies.
        size: Its bytes.
    """

    __slots__ = ("__weakref__", "address", "size")

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Numpy's view of the bytes; an array made of it keeps the block."""
        return {
            "shape": (self.size,),
            "typestr": "|u1",
            "data": (self.address, False),
            "version": 3,
        }

    def array(
        self, offset: int, shape: tuple[int, ...], storage: np.dtype[Any]
    ) -> npt.NDArray[Any]:
        """Return a view of a part as an array of ``shape`` and type ``storage``."""
        size = int(np.prod(shape)) * storage.itemsize
        return np.asarray(self)[offset : offset + size].view(storage).reshape(shape)


class Moment:
    """An event in the stream that is recorded again and again; one thread at a time.

    Args:
        event: CUDA's handle.

    Attributes:
        number: Number of the work behind which it was recorded last; 0 before.
    """

    __slots__ = ("__weakref__", "event", "number")

    def __init__(self, event: int) -> None:
        self.event = event
        self.number = 0


class Stream:
    """A CUDA stream shared by threads.

    Args:
        cuda: The CUDA runtime library.

    Attributes:
        cuda: As given.
        handle: CUDA's handle of the stream.
        lock: Held while work is put into the stream; see :meth:`turn`.
        issued: Number of the work put in last.
        done: Number of the work known to be done.
        retired: What waits to be freed.

    Raises:
        TargetError: CUDA refused.
    """

    def __init__(self, cuda: CudaRuntime) -> None:
        self.cuda = cuda
        self.handle = cuda.stream_create()
        self.lock = threading.Lock()
        self.issued = 0
        self.done = 0
        self.retired: deque[Action] = deque()
        self._process = os.getpid()
        self._zeros: int = cuda.host_alloc(_ZEROS)
        ctypes.memset(self._zeros, 0, _ZEROS)
        self._event = cuda.event_create()
        own = (
            partial(cuda.event_destroy, self._event),
            partial(cuda.free_host, self._zeros),
            partial(cuda.stream_destroy, self.handle),
        )
        weakref.finalize(self, _run_all, own, self._process).atexit = False

    @contextlib.contextmanager
    def turn(self) -> Iterator[int]:
        """Hold the stream to put one piece of work in; gives its number.

        The number counts even where putting it in fails: part of it may be under way.
        """
        with self.lock:
            self.issued += 1
            yield self.issued
        if self.retired:
            self.settle()

    def wait(self, number: int) -> None:
        """Wait until the work of that number is done.

        Raises:
            TargetError: Work in the stream failed.
        """
        if number <= self.done:
            return
        with self.lock:
            self.cuda.event_record(self._event, self.handle)
            reached = self.issued
        if self.retired:
            self.settle()
        self.cuda.event_synchronize(self._event)
        self.done = max(self.done, reached)

    def reach(self, moment: Moment) -> None:
        """Wait for a moment, unless it is known to be past. The one wait of an exit.

        Raises:
            TargetError: Work in the stream failed.
        """
        number = moment.number
        if number > self.done:
            self.cuda.event_synchronize(moment.event)
            # Two threads may write in the other order: then one waits once too often.
            self.done = max(self.done, number)

    def moment(self) -> Moment:
        """Return a new moment, not recorded yet."""
        moment = Moment(self.cuda.event_create())
        self.when_gone(moment, partial(self.cuda.event_destroy, moment.event))
        return moment

    def device_memory(self, size: int) -> DeviceMemory:
        """Return ``size`` new bytes on the device; the stream fills them with zeros.

        Raises:
            TargetError: There is not that much.
        """
        size = max(size, 1)
        memory = DeviceMemory(self.cuda.malloc(size), size)
        self.when_gone(memory, partial(self.cuda.free, memory.address))
        with self.turn():
            filled = min(size, _ZEROS)
            self.cuda.copy(memory.address, self._zeros, filled, self.handle)
            while filled < size:
                part = min(filled, size - filled)
                self.cuda.copy(memory.address + filled, memory.address, part, self.handle)
                filled += part
        return memory

    def pinned_memory(self, size: int) -> PinnedMemory:
        """Return ``size`` new bytes of pinned host memory, zeroed.

        Raises:
            TargetError: There is not that much.
        """
        size = max(size, 1)
        memory = PinnedMemory(self.cuda.host_alloc(size), size)
        ctypes.memset(memory.address, 0, size)
        self.when_gone(memory, partial(self.cuda.free_host, memory.address))
        return memory

    def when_gone(self, owner: object, *actions: Action) -> None:
        """Do ``actions`` once ``owner`` is gone and the work put in until then is done.

        They must not refer to ``owner``, nor to what owns this stream.
        """
        # At the interpreter's end other threads may still be in a call, and the driver frees all.
        weakref.finalize(owner, self._retire, actions).atexit = False

    def _retire(self, actions: tuple[Action, ...]) -> None:
        self.retired.extend(actions)
        self.settle()

    def settle(self) -> None:
        """Free what is retired, unless another call holds the stream: that one will then do it.

        A finalizer may run in any thread at any time, in the middle of a capture too, where CUDA
        allows neither to wait nor to free. Hence never a wait for the lock here.
        """
        while self.retired and self.lock.acquire(blocking=False):
            try:
                if os.getpid() == self._process:
                    reached = self.issued
                    with contextlib.suppress(Exception):  # work that failed is over as well
                        self.cuda.stream_synchronize(self.handle)
                        self.done = reached
                actions = [self.retired.popleft() for _ in range(len(self.retired))]
                _run_all(actions, self._process)
            finally:
                self.lock.release()


def _run_all(actions: list[Action] | tuple[Action, ...], process: int) -> None:
    """Do each action whatever becomes of the others, but only in the process that began."""
    if os.getpid() != process:
        return
    for action in actions:
        try:
            action()
        except Exception as error:
            _LOG.debug("something on the device could not be freed: %s", error)

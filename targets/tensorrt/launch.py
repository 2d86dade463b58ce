"""One stage at one size, ready to run: a context with everything bound, later a CUDA graph."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from edgeexit.errors import TargetError
from edgeexit.targets.tensorrt.buffers import DeviceBuffer, Mirror
from edgeexit.targets.tensorrt.loaded import Loaded
from edgeexit.targets.tensorrt.session import Session
from edgeexit.targets.tensorrt.stream import DeviceMemory, Moment, Stream

_LOG = logging.getLogger(__name__)


class Launch:
    """Puts one stage and the copy of its small outputs into the stream; never waits.

    The first call runs plainly, for an engine may prepare itself in it. The second records the
    same into a CUDA graph: sizes and addresses never change but by :meth:`rebind`, after which
    the graph is recorded again.

    Args:
        session: The device in use.
        loaded: The stage's engine.
        buffers: A buffer for each of its tensors, by name.
        inputs: Which of them are inputs.
        moment: Recorded behind every call.
        mirror: The outputs that each call copies to the host, or None.
        graphs: Whether to use CUDA graphs.

    Attributes:
        session: As given.

    Raises:
        TargetError: The engine was not built for these sizes, or writes others than its specs say.
    """

    def __init__(
        self,
        session: Session,
        loaded: Loaded,
        buffers: Mapping[str, DeviceBuffer],
        inputs: frozenset[str],
        moment: Moment,
        mirror: Mirror | None,
        graphs: bool,
    ) -> None:
        shapes = {name: buffers[name].shape for name in inputs}
        profile = loaded.profile(shapes)
        self._api = loaded.api
        self._stream = session.stream
        self.session = session
        # In the list alone, which drops its last first: the context before the engine it is of.
        self._held = [loaded, self._api.context(loaded.engine)]
        self._stream.when_gone(self, self._held.clear)
        self._buffers = dict(buffers)
        self._moment = moment
        self._mirror = mirror
        self._graphs = graphs
        self._scratch: DeviceMemory | None = None
        self._ran = False
        self._graph: Graph | None = None
        with self._stream.turn():
            self._api.select_profile(self._context, profile, self._stream.handle)
            for name, shape in shapes.items():
                self._api.set_shape(self._context, name, shape)
        self._check_outputs(inputs)

    def __call__(self) -> None:
        """Run the stage once.

        Raises:
            TargetError: CUDA or TensorRT refused.
        """
        stream, moment = self._stream, self._moment
        if self._scratch is None:
            self._bind_all()
        with stream.lock:
            if self._graph is not None:
                stream.cuda.launch(self._graph.handle, stream.handle)
            else:
                self._first_calls()
            stream.cuda.event_record(moment.event, stream.handle)
            stream.issued += 1
            moment.number = stream.issued
        if stream.retired:
            stream.settle()

    def rebind(self, name: str, buffer: DeviceBuffer) -> None:
        """Let a tensor lie elsewhere from the next call on.

        Raises:
            TargetError: TensorRT refused.
        """
        self._buffers[name] = buffer
        if self._scratch is not None:
            address = buffer.address
            with self._stream.turn():
                self._api.set_address(self._context, name, address)
        self._graph = None

    @property
    def _context(self) -> Any:
        return self._held[1]

    def _check_outputs(self, inputs: frozenset[str]) -> None:
        """A stage whose outputs are larger than their buffers would write past their end."""
        for name, buffer in self._buffers.items():
            if name in inputs:
                continue
            shape = self._api.shape(self._context, name)
            if shape != buffer.shape:
                raise TargetError(
                    f"output {name!r} has shape {shape}, but its bundle says {buffer.shape}.",
                    hint="compile the bundle again.",
                    code="target.tensors",
                )

    def _bind_all(self) -> None:
        """Set scratch and addresses, now that memory is really needed."""
        addresses = {name: buffer.address for name, buffer in self._buffers.items()}
        scratch = self.session.scratch()
        with self._stream.turn():
            self._api.set_scratch(self._context, scratch.address, scratch.size)
            for name, address in addresses.items():
                self._api.set_address(self._context, name, address)
        # Freed only once this context is gone, as its contents lie behind it in the stream.
        self._scratch = scratch

    def _first_calls(self) -> None:
        if self._ran and self._graphs:
            self._graph = self._capture()
        if self._graph is not None:
            self._stream.cuda.launch(self._graph.handle, self._stream.handle)
        else:
            self._enqueue()
        self._ran = True

    def _enqueue(self) -> None:
        stream, mirror = self._stream, self._mirror
        self._api.enqueue(self._context, stream.handle)
        if mirror is not None:
            pinned, device = mirror.pinned, mirror.device
            stream.cuda.copy(pinned.address, device.address, device.size, stream.handle)

    def _capture(self) -> Graph | None:
        """Return the call as a graph, or None for good where that cannot be."""
        cuda, handle = self._stream.cuda, self._stream.handle
        try:
            cuda.begin_capture(handle)
            try:
                self._enqueue()
            except BaseException:
                # Until it is ended, a broken capture would refuse all other work.
                with contextlib.suppress(TargetError):
                    cuda.graph_destroy(cuda.end_capture(handle))
                raise
            recorded = cuda.end_capture(handle)
            try:
                return Graph(self._stream, cuda.instantiate(recorded))
            finally:
                cuda.graph_destroy(recorded)
        except TargetError as error:
            _LOG.warning("a stage runs without a CUDA graph: %s", error.message)
            self._graphs = False
            return None


class Graph:
    """A recorded call, destroyed when nothing refers to it any more.

    Args:
        stream: The device's stream.
        handle: CUDA's handle.
    """

    __slots__ = ("__weakref__", "handle")

    def __init__(self, stream: Stream, handle: int) -> None:
        self.handle = handle
        stream.when_gone(self, partial(stream.cuda.exec_destroy, handle))

"""A stage as a TensorRT engine, and its runners."""

from __future__ import annotations

from collections.abc import Sequence

from edgeexit.bundle.specs import TensorSpec
from edgeexit.targets.base import Buffer, Dims, Engine, EngineOptions, StageRunner
from edgeexit.targets.tensorrt.buffers import (
    DeviceBuffer,
    Mirror,
    MirroredBuffer,
    aligned,
    on_device,
)
from edgeexit.targets.tensorrt.launch import Launch
from edgeexit.targets.tensorrt.loaded import Loaded
from edgeexit.targets.tensorrt.session import Session

MIRRORED_BYTES = 64 << 10
"""Largest output that every run copies to the host; larger ones are copied when asked for."""


class TensorRtRunner(StageRunner):
    """One execution context with buffers of its own.

    Outputs that are no boundary tensors and small come to pinned host memory behind every run;
    the first ``host()`` of any of them waits for that, the others do not wait again.

    Args:
        session: The device in use.
        loaded: The stage's engine.
        inputs: Tensors the stage reads.
        outputs: Tensors the stage writes.
        dims: A value for each symbol.
        options: Which tensors are boundary tensors (``native``), and the settings.

    Raises:
        InputError: A symbol has no value.
        TargetError: The engine was not built for these sizes.
    """

    def __init__(
        self,
        session: Session,
        loaded: Loaded,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        dims: Dims,
        options: EngineOptions,
    ) -> None:
        buffers = {
            spec.name: DeviceBuffer(session, spec.dtype, spec.resolve(dims))
            for spec in (*inputs, *outputs)
        }
        writes = [buffers[spec.name] for spec in outputs if spec.name not in options.native]
        small = [buffer for buffer in writes if buffer.size <= MIRRORED_BYTES]
        moment = session.stream.moment()
        mirror = None
        if small:
            mirror = Mirror(session, sum(aligned(buffer.size) for buffer in small), moment)
            buffers |= _mirrored(session, mirror, {n: b for n, b in buffers.items() if b in small})
        super().__init__(inputs, outputs, dims, buffers)
        reads = frozenset(spec.name for spec in inputs)
        graphs = bool(options.settings.get("cuda_graphs", True))
        self._launch: Launch | None = Launch(
            session, loaded, buffers, reads, moment, mirror, graphs
        )
        self._call = self._launch

    def _bind_impl(self, name: str, buffer: Buffer) -> None:
        launch = self._launch
        if launch is not None:
            launch.rebind(name, on_device(buffer, launch.session))

    def _release_impl(self) -> None:
        # A thread in the middle of a run holds the launch, and that the buffers.
        self._launch = None
        self._buffers = {}


class TensorRtEngine(Engine):
    """One deserialized engine; threads may share it, as each runner has a context of its own.

    Args:
        session: The device in use.
        loaded: The stage's engine.
        inputs: Tensors the stage reads.
        outputs: Tensors the stage writes.
        options: What it is opened with.
    """

    def __init__(
        self,
        session: Session,
        loaded: Loaded,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
    ) -> None:
        super().__init__(inputs, outputs, options)
        session.reserve_scratch(loaded.scratch_bytes)
        self._opened: tuple[Session, Loaded] | None = session, loaded

    def _runner_impl(self, dims: Dims) -> StageRunner:
        assert self._opened is not None
        return TensorRtRunner(*self._opened, self.inputs, self.outputs, dims, self.options)

    def _operations_impl(self) -> tuple[tuple[str, str], ...]:
        assert self._opened is not None
        return self._opened[1].operations

    def _close_impl(self) -> None:
        self._opened = None


def _mirrored(
    session: Session, mirror: Mirror, buffers: dict[str, DeviceBuffer]
) -> dict[str, MirroredBuffer]:
    """Return parts of the mirror in place of the buffers, one behind the other."""
    parts: dict[str, MirroredBuffer] = {}
    offset = 0
    for name, buffer in buffers.items():
        parts[name] = MirroredBuffer(session, buffer.dtype, buffer.shape, mirror, offset)
        offset += aligned(buffer.size)
    return parts

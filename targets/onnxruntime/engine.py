"""A stage compiled by ONNX Runtime, and its runners."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import onnxruntime

from edgeexit.bundle.specs import TensorSpec, dim_symbol, resolve_dim
from edgeexit.targets.base import Buffer, Dims, Engine, EngineOptions, StageRunner
from edgeexit.targets.buffer import host_buffers
from edgeexit.targets.faults import check_tensors
from edgeexit.targets.onnxruntime.arena import use_shared_arena
from edgeexit.targets.onnxruntime.buffers import bind_input, bind_output

_LEVELS = {
    "disable": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_FATAL = 4
"""Log severity: errors come as exceptions, so the engine need not print them too."""


class OnnxRuntimeRunner(StageRunner):
    """A binding of one session to buffers of its own.

    Args:
        session: The compiled stage.
        inputs: Tensors the stage reads.
        outputs: Tensors the stage writes.
        dims: A value for each symbol.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        dims: Dims,
    ) -> None:
        reads, writes = host_buffers(inputs, dims), host_buffers(outputs, dims)
        super().__init__(inputs, outputs, dims, {**reads, **writes})
        self._binding: onnxruntime.IOBinding | None = session.io_binding()
        for name, buffer in reads.items():
            bind_input(self._binding, name, buffer)
        for name, buffer in writes.items():
            bind_output(self._binding, name, buffer)
        self._call = partial(session.run_with_iobinding, self._binding)

    def _bind_impl(self, name: str, buffer: Buffer) -> None:
        bind_input(self._binding, name, buffer)

    def _release_impl(self) -> None:
        self._binding = None


class OnnxRuntimeEngine(Engine):
    """One session; it may be shared by threads.

    Args:
        model: The stage's ONNX file.
        inputs: Tensors the stage reads.
        outputs: Tensors the stage writes.
        options: How to compile.

    Raises:
        TargetError: The file's tensors are not the given ones.
    """

    def __init__(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
    ) -> None:
        super().__init__(inputs, outputs, options)
        self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(
            str(model), session_options(inputs, options), providers=["CPUExecutionProvider"]
        )
        found = self._session.get_inputs(), self._session.get_outputs()
        check_tensors(model, [s.name for s in inputs], [f.name for f in found[0]], "inputs")
        check_tensors(model, [s.name for s in outputs], [f.name for f in found[1]], "outputs")

    def _runner_impl(self, dims: Dims) -> StageRunner:
        return OnnxRuntimeRunner(self._session, self.inputs, self.outputs, dims)

    def _operations_impl(self) -> tuple[tuple[str, str], ...]:
        """Return nothing: ONNX Runtime does not tell what it executes without running it."""
        return ()

    def _close_impl(self) -> None:
        self._session = None


def session_options(
    inputs: Sequence[TensorSpec], options: EngineOptions
) -> onnxruntime.SessionOptions:
    """Return ONNX Runtime's form of the options.

    Raises:
        InputError: A dimension of an input is malformed.
    """
    native = onnxruntime.SessionOptions()
    native.intra_op_num_threads = options.threads
    native.inter_op_num_threads = 1
    native.log_severity_level = _FATAL
    level = options.settings.get("graph_optimization", "all")
    native.graph_optimization_level = _LEVELS[level]
    spinning = "1" if options.settings.get("spinning", False) else "0"
    native.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    use_shared_arena(native)
    for dim in {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}:
        # The engine knows dimensions by their literal text, so 49*batch is one of its own.
        if dim_symbol(dim) in options.dims:
            size = resolve_dim(dim, options.dims)
            native.add_free_dimension_override_by_name(dim, size)
    return native

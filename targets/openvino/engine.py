"""A stage compiled by OpenVINO, and its runners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino.preprocess import PrePostProcessor

from edgeexit.bundle.specs import TensorSpec, dim_symbol, resolve_dim
from edgeexit.errors import TargetError, out_of_memory
from edgeexit.targets.base import Buffer, Dims, Engine, EngineOptions, StageRunner
from edgeexit.targets.buffer import host_buffers
from edgeexit.targets.faults import check_tensors
from edgeexit.targets.openvino.buffers import tensor_over
from edgeexit.targets.openvino.layouts import put_channels_last, shape_channels_last
from edgeexit.targets.openvino.signals import kept_signal_stack
from edgeexit.targets.processor import available_threads

_ANY_SIZE = -1

_UNWRITTEN = 0xA5
"""What every byte of an output holds before it is written for the first time."""


class OpenVinoRunner(StageRunner):
    """One infer request with buffers of its own.

    Args:
        request: A request of the compiled stage that nobody else uses.
        inputs: Tensors the stage reads.
        outputs: Tensors the stage writes.
        dims: A value for each symbol.
    """

    def __init__(
        self,
        request: openvino.InferRequest,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        dims: Dims,
    ) -> None:
        buffers = host_buffers((*inputs, *outputs), dims)
        super().__init__(inputs, outputs, dims, buffers)
        self._request: Any = request
        for name, buffer in buffers.items():
            request.set_tensor(name, tensor_over(buffer))
        # The wrapper's own infer() would dispatch inputs and copy every output.
        bare: Any = super(openvino.InferRequest, request)
        self._infer: Any = partial(bare.infer, {}, share_outputs=True, decode_strings=False)
        self._call = self._first_call

    def _bind_impl(self, name: str, buffer: Buffer) -> None:
        self._request.set_tensor(name, tensor_over(buffer))

    def _release_impl(self) -> None:
        self._request = self._infer = None

    def _first_call(self) -> None:
        """Run once and check that the outputs came where they belong.

        Where an output's shape is dynamic and not what its spec says, OpenVINO writes to memory
        of its own and says nothing. Where no memory is left to prepare this size, it writes
        nothing and says nothing.
        """
        request, infer = self._request, self._infer
        outputs = [self._buffers[name].host().reshape(-1).view(np.uint8) for name in self.outputs]
        for output in outputs:
            output.fill(_UNWRITTEN)
        infer()
        for name in self.outputs:
            written, buffer = request.get_tensor(name), self._buffers[name]
            place = written.data.ctypes.data
            if tuple(written.shape) != buffer.shape or place != buffer.host().ctypes.data:
                raise TargetError(
                    f"output {name!r} has shape {tuple(written.shape)}, but its bundle says "
                    f"{buffer.shape}.",
                    hint="compile the bundle again.",
                    code="target.tensors",
                )
        if any((output == _UNWRITTEN).all() for output in outputs if output.size):
            raise out_of_memory("OpenVINO left an output unwritten")
        if not self._closed:
            self._call = infer


class OpenVinoEngine(Engine):
    """One compiled model; threads may share it, as each runner has a request of its own.

    Args:
        model: The stage's ONNX file.
        inputs: Tensors the stage reads.
        outputs: Tensors the stage writes.
        options: How to compile.
        compute: Type in which float operations compute, ``f32`` or ``bf16``; with ``bf16``, the
            tensors that ``options.native`` names cross the stage's edge as ``bfloat16``. Those
            that ``options.channels_last`` names cross it with their channels last.

    Raises:
        TargetError: The file's tensors are not the given ones, or the engine would compute in
            another type.
    """

    def __init__(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
        compute: str,
    ) -> None:
        native = options.native if compute == "bf16" else frozenset()
        at_edge = partial(_at_edge, native=native, channels_last=options.channels_last)
        super().__init__([*map(at_edge, inputs)], [*map(at_edge, outputs)], options)
        core = openvino.Core()
        graph = core.read_model(model)
        check_tensors(model, [s.name for s in inputs], _names(graph.inputs), "inputs")
        check_tensors(model, [s.name for s in outputs], _names(graph.outputs), "outputs")
        if options.channels_last:
            put_channels_last(graph, options.channels_last)
        graph = self._with_edge_types(graph)
        graph.reshape({s.name: _partial_shape(s, options.dims) for s in self.inputs})
        self._compiled: openvino.CompiledModel | None
        with kept_signal_stack():
            self._compiled = core.compile_model(graph, "CPU", _properties(options, compute))
        actual = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        if actual.get_type_name() != compute:
            raise TargetError(
                f"OpenVINO computes {model.name} in {actual.get_type_name()}, not in {compute}.",
                hint="choose a precision that this processor computes in.",
                code="target.precision",
            )

    def _with_edge_types(self, graph: openvino.Model) -> openvino.Model:
        edges = PrePostProcessor(graph)
        for spec in self.inputs:
            if spec.dtype == "bfloat16":
                edges.input(spec.name).tensor().set_element_type(openvino.Type.bf16)
        for spec in self.outputs:
            if spec.dtype == "bfloat16":
                edges.output(spec.name).tensor().set_element_type(openvino.Type.bf16)
        return edges.build()

    def _runner_impl(self, dims: Dims) -> StageRunner:
        assert self._compiled is not None
        request = self._compiled.create_infer_request()
        return OpenVinoRunner(request, self.inputs, self.outputs, dims)

    def _operations_impl(self) -> tuple[tuple[str, str], ...]:
        assert self._compiled is not None
        told = [op.get_rt_info() for op in self._compiled.get_runtime_model().get_ordered_ops()]
        return tuple(
            (info["layerType"].astype(str), info["runtimePrecision"].astype(str)) for info in told
        )

    def _close_impl(self) -> None:
        self._compiled = None


def _at_edge(spec: TensorSpec, native: frozenset[str], channels_last: frozenset[str]) -> TensorSpec:
    """Return a tensor as it crosses the stage's edge, in the engine's own type and order."""
    if spec.name in native and spec.dtype == "float32":
        spec = replace(spec, dtype="bfloat16")
    if spec.name in channels_last:
        spec = replace(spec, shape=shape_channels_last(spec))
    return spec


def _names(ports: Sequence[Any]) -> set[str]:
    return {name for port in ports for name in port.get_names()}


def _partial_shape(spec: TensorSpec, dims: Dims) -> openvino.PartialShape:
    sizes = [
        _ANY_SIZE
        if isinstance(dim, str) and dim_symbol(dim) not in dims
        else resolve_dim(dim, dims)
        for dim in spec.shape
    ]
    return openvino.PartialShape(sizes)


def _properties(options: EngineOptions, compute: str) -> dict[str, Any]:
    # No CACHE_DIR: OpenVINO answers wrongly from a damaged cache file and does not notice.
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": compute,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    if options.threads:
        properties["INFERENCE_NUM_THREADS"] = options.threads
    settings = options.settings
    if "cpu_pinning" in settings:
        properties["ENABLE_CPU_PINNING"] = settings["cpu_pinning"]
    elif 0 < options.threads < available_threads():
        # Pinned, the calls of several threads would all run on the same first cores.
        properties["ENABLE_CPU_PINNING"] = False
    if "hyper_threading" in settings:
        properties["ENABLE_HYPER_THREADING"] = settings["hyper_threading"]
    if not settings.get("fusion", True):
        properties["SNIPPETS_MODE"] = "DISABLE"
    return properties

"""TensorRT 10, TensorRT 11 and TensorRT-RTX behind one set of calls.

The three modules are nearly one: what differs is said in one thin subclass each. A call without
a usable GPU can end the process, so ask CUDA for a device first; building alone, for a named
compute capability, needs none (TensorRT-RTX).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from edgeexit.errors import TargetError
from edgeexit.targets.info import Report
from edgeexit.targets.tensorrt.job import LARGEST_GATHER, BuildJob, gather_job
from edgeexit.targets.tensorrt.log import Log, bridge

Tensor = tuple[str, bool, str]
"""A tensor of an engine: its name, whether it is an input, and the numpy name of its type."""

_TYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


class Api(ABC):
    """One TensorRT module; threads may share it, each with contexts of its own.

    Keep it as long as any engine or context made by it: it owns their logger and runtime.

    Args:
        module: The imported module.
        log: Where its messages go; a new one that keeps errors and warnings unless given.

    Attributes:
        name: ``tensorrt`` or ``tensorrt_rtx``.
        version: The module's version, e.g. ``10.3.0``.
        major: Its first number.
        log: The module's messages.
    """

    name: ClassVar[str]

    def __init__(self, module: Any, log: Log | None = None) -> None:
        self.module = module
        self.log = Log() if log is None else log
        self.version = str(module.__version__)
        self.major = int(self.version.split(".")[0])
        self._logger = bridge(module, self.log)
        self._lock = threading.Lock()
        self._runtime: Any = None

    # Building; in the builder's process alone.

    def build(self, job: BuildJob, report: Report) -> bytes:
        """Build a plan here and now; :mod:`edgeexit.targets.tensorrt.building` does it safely.

        Raises:
            TargetError: The parser or the builder refused; their own words are in the message.
        """
        from edgeexit.targets.tensorrt.network import build

        return build(self, self._logger, job, report)

    def gather_plan(
        self,
        compute_capability: str | None = None,
        largest: tuple[int, int, int] = LARGEST_GATHER,
    ) -> bytes:
        """Build the plan that takes rows of a tensor.

        ``data (outer, all, words) int32`` and ``rows (taken,) int32`` give ``taken (outer,
        taken, words) int32``: ``taken[o, i, w] = data[o, rows[i], w]``. A row outside ``data``
        is the caller's fault and not noticed.

        Args:
            compute_capability: As in :class:`BuildJob`.
            largest: Largest sizes of ``data``; no more rows can be taken than it has.

        Raises:
            TargetError: The builder refused.
        """
        job = gather_job(largest, compute_capability)
        return self.build(job, lambda phase, fraction: None)

    # Running; each needs a GPU.

    def deserialize(self, plan: bytes) -> Any | None:
        """Return the engine in a plan, or None where this GPU or version cannot load it."""
        with self._lock:
            if self._runtime is None:
                self._runtime = self.module.Runtime(self._logger)
        return self._runtime.deserialize_cuda_engine(plan)

    def tensors(self, engine: Any) -> tuple[Tensor, ...]:
        """Return the inputs and outputs of an engine."""
        mode = self.module.TensorIOMode
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return tuple(
            (
                name,
                engine.get_tensor_mode(name) == mode.INPUT,
                self.dtype_name(engine.get_tensor_dtype(name)),
            )
            for name in names
        )

    def scratch_bytes(self, engine: Any) -> int:
        """Return the bytes of scratch that a context needs, the largest over all profiles."""
        return int(engine.device_memory_size_v2)

    @abstractmethod
    def context(self, engine: Any) -> Any:
        """Return a context that uses the scratch of :meth:`set_scratch`.

        Raises:
            TargetError: TensorRT made none.
        """

    def set_scratch(self, context: Any, address: int, size: int) -> None:
        """Let a context use ``size`` bytes of device memory at an address divisible by 256.

        Contexts that run in order on one stream may share them (TensorRT issues 2040 and 3276).
        """
        context.set_device_memory(address, size)

    def select_profile(self, context: Any, index: int, stream: int) -> None:
        """Select an optimization profile, on the stream that the context will run on.

        Raises:
            TargetError: TensorRT refused.
        """
        self._check(
            lambda: context.set_optimization_profile_async(index, stream),
            f"optimization profile {index} cannot be selected",
        )

    def set_shape(self, context: Any, name: str, shape: Sequence[int]) -> None:
        """Set the shape of an input.

        Raises:
            TargetError: It lies outside the selected profile.
        """
        self._check(
            lambda: context.set_input_shape(name, tuple(shape)),
            f"input {name!r} cannot have the shape {tuple(shape)}",
        )

    def shape(self, context: Any, name: str) -> tuple[int, ...]:
        """Return a tensor's shape where all inputs have theirs; an unknown size is -1."""
        return tuple(int(size) for size in context.get_tensor_shape(name))

    def set_address(self, context: Any, name: str, address: int) -> None:
        """Set where a tensor lies in device memory.

        Raises:
            TargetError: TensorRT refused.
        """
        self._check(
            lambda: context.set_tensor_address(name, address),
            f"tensor {name!r} cannot lie at address {address:#x}",
        )

    def enqueue(self, context: Any, stream: int) -> None:
        """Put one inference on a stream, without waiting for it. The hot path.

        Raises:
            TargetError: TensorRT refused.
        """
        if not context.execute_async_v3(stream):
            raise self.refusal("a stage cannot be enqueued")

    def inspect(self, engine: Any) -> str:
        """Return what the engine inspector says of the engine's layers, JSON."""
        inspector = engine.create_engine_inspector()
        form = self.module.LayerInformationFormat.JSON
        return str(inspector.get_engine_information(form))

    def dtype_name(self, dtype: Any) -> str:
        """Return the numpy name of a TensorRT type; its own in lower case where there is none."""
        name = str(dtype.name)
        return _TYPES.get(name, name.lower())

    def refusal(self, what: str) -> TargetError:
        """Return the error for something that TensorRT refused, with its own words."""
        return TargetError(
            f"{what}: {self.name} {self.version} says: {self.log.reason}",
            hint="run edgeexit doctor on this device, and report what it prints.",
            code="target.engine",
        )

    def _check(self, call: Callable[[], Any], what: str) -> None:
        # Bindings differ in whether a refusal is False or a RuntimeError.
        try:
            done = call()
        except (RuntimeError, TypeError, ValueError) as error:
            raise self.refusal(what) from error
        if not done:
            raise self.refusal(what)

    def _made(self, context: Any) -> Any:
        if context is None:
            raise self.refusal("no execution context can be made")
        return context

    # What differs while building; the builder's process asks.

    @property
    @abstractmethod
    def measures(self) -> bool:
        """Whether a build measures kernels, and so a timing cache is of use."""

    def network_flags(self) -> int:
        """Return the flags of a strongly typed network."""
        return 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def choose_gpu(self, config: Any, compute_capability: str | None) -> None:
        """Build for the GPU at hand (None), or for another one such as ``sm86``.

        Raises:
            TargetError: This module builds for the GPU at hand alone, or does not know that one.
        """
        if compute_capability is not None:
            raise TargetError(
                f"{self.name} {self.version} cannot build for {compute_capability}: it builds for "
                "the GPU at hand alone.",
                hint="build on the device itself, or check the bundle with the target 'rtx'.",
                code="target.gpu",
            )


class TensorRt10(Api):
    """TensorRT 10 (JetPack 6.1 to 7.2), from 10.3 on."""

    name = "tensorrt"
    measures = True

    def context(self, engine: Any) -> Any:
        """Return a context that uses the scratch of :meth:`set_scratch`."""
        strategy = self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        return self._made(engine.create_execution_context(strategy))


class TensorRt11(TensorRt10):
    """TensorRT 11, whose networks are all strongly typed."""

    def network_flags(self) -> int:
        """Return the flags of a strongly typed network: none where there is no other kind."""
        flags = self.module.NetworkDefinitionCreationFlag
        strong = getattr(flags, "STRONGLY_TYPED", None)
        return 0 if strong is None else 1 << int(strong)


class TensorRtRtx(Api):
    """TensorRT-RTX: plans for a GPU generation, whose kernels are compiled where they run."""

    name = "tensorrt_rtx"
    measures = False

    def context(self, engine: Any) -> Any:
        """Return a context that uses the scratch of :meth:`set_scratch`.

        Kernels are compiled at the first call of a shape, not behind the user's back later: a
        measured time would else change under way, and a capture must not meet a compiler.
        """
        config = engine.create_runtime_config()
        strategies = self.module.ExecutionContextAllocationStrategy
        config.set_execution_context_allocation_strategy(strategies.USER_MANAGED)
        kernels = self.module.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = kernels.EAGER
        return self._made(engine.create_execution_context(config))

    def choose_gpu(self, config: Any, compute_capability: str | None) -> None:
        """Build for the GPU at hand (None), or for a named one, which need not be here."""
        known = self.module.ComputeCapability
        wanted = (compute_capability or "current").upper()
        if not hasattr(known, wanted):
            names = [name.lower() for name in dir(known) if name.startswith("SM")]
            raise TargetError(
                f"{self.name} {self.version} cannot build for {compute_capability}: it knows "
                f"{', '.join(names)}.",
                hint="choose one of them; Jetson's sm87 is built for on the device.",
                code="target.gpu",
            )
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(known, wanted), 0)

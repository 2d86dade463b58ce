"""The contract of a target: what an engine must do to run stages.

Three objects, each made by the one before it: a :class:`Target` (an engine on this machine)
opens a stage file as an :class:`Engine` (a compiled stage, shared by threads), which makes
:class:`StageRunner` objects (one request with its own buffers, for one thread at one size).
The base classes check state, names, shapes and dtypes; engines implement the ``_impl`` methods.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import EdgeExitError, InputError, TargetError
from edgeexit.targets.buffer import Buffer
from edgeexit.targets.faults import (
    closed_engine,
    engine_refusal,
    not_loaded,
    unavailable,
    unknown_tensor,
)
from edgeexit.targets.info import Built, DeviceInfo, Dims, EngineOptions, Report, Unavailable

__all__ = [
    "Buffer",
    "DeviceInfo",
    "Dims",
    "Engine",
    "EngineOptions",
    "StageRunner",
    "Target",
    "Unavailable",
]

Setting = type | tuple[str, ...]
"""What an engine-specific setting may be: any value of a type, or one of a few words."""


class StageRunner(ABC):
    """One inference request of a compiled stage: its buffers and ``run()``. One thread at a time.

    Implementations set ``_call``, the engine's own call with everything bound beforehand.

    Args:
        inputs: Tensors the stage reads, in the types in which the engine takes them.
        outputs: Tensors the stage writes, likewise.
        dims: A value for each symbol.
        buffers: A buffer for each input and output, by name.
    """

    _call: Callable[[], object]

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        dims: Dims,
        buffers: Mapping[str, Buffer],
    ) -> None:
        self.inputs = {spec.name: spec for spec in inputs}
        self.outputs = {spec.name: spec for spec in outputs}
        self.dims = dict(dims)
        self._buffers = dict(buffers)
        self._closed = False

    def buffer(self, name: str) -> Buffer:
        """Return the buffer bound to the named input or output.

        Raises:
            InputError: The stage has no such tensor.
            TargetError: The engine is closed.
        """
        self._check_open()
        if name not in self._buffers:
            raise unknown_tensor(name, self._buffers)
        return self._buffers[name]

    def bind(self, name: str, buffer: Buffer) -> None:
        """Let the named input read from ``buffer``, usually an earlier stage's output.

        Raises:
            InputError: The stage has no such input, or the buffer's shape or type differs.
            TargetError: The engine is closed.
        """
        self._check_open()
        if name not in self.inputs:
            raise unknown_tensor(name, self.inputs)
        bound = self._buffers[name]
        if buffer.shape != bound.shape or buffer.dtype != bound.dtype:
            raise InputError(
                f"a {buffer.dtype} buffer of shape {buffer.shape} cannot be bound to input "
                f"{name!r}: it takes {bound.dtype} of shape {bound.shape}.",
                hint="bind a buffer of a runner opened with equal sizes and options.",
                code="input.shape" if buffer.shape != bound.shape else "input.dtype",
            )
        self._bind_impl(name, buffer)
        self._buffers[name] = buffer

    def run(self) -> None:
        """Run the stage on what its input buffers hold. The hot path: no checks, no copies.

        Raises:
            TargetError: The engine failed, or is closed.
        """
        try:
            self._call()
        except EdgeExitError:
            raise
        except Exception as error:
            raise engine_refusal("the engine failed while running a stage", error) from error

    def release(self) -> None:
        """Refuse all further use; the engine calls it when it is closed.

        The buffers stay: another thread may be in the middle of ``run()``, and other runners may
        be bound to them.
        """
        self._closed = True
        self._call = self._check_open
        self._release_impl()

    def _check_open(self) -> None:
        if self._closed:
            raise closed_engine()

    @abstractmethod
    def _bind_impl(self, name: str, buffer: Buffer) -> None:
        """Let a known input read from a buffer of the right shape and type."""

    @abstractmethod
    def _release_impl(self) -> None:
        """Drop the engine's own objects. Called once, maybe while another thread runs."""


class Engine(ABC):
    """A compiled stage; threads may share it, each with runners of its own.

    Args:
        inputs: Tensors the stage reads, in the types in which the engine takes them.
        outputs: Tensors the stage writes, likewise.
        options: What it was compiled with.
    """

    def __init__(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], options: EngineOptions
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.options = options
        self._lock = threading.Lock()
        self._runners: weakref.WeakSet[StageRunner] = weakref.WeakSet()
        self._closed = False

    def runner(self, dims: Dims) -> StageRunner:
        """Return a new runner with buffers for the given sizes.

        Args:
            dims: A value for each symbol; those fixed at compile time may be left out, and those
                that this stage does not use are ignored.

        Raises:
            InputError: A symbol has no value, no positive one, or another than it was fixed to.
            TargetError: The engine is closed, or it refuses the sizes.
        """
        sizes = self._sizes(dims)
        with self._lock:
            self._check_open()
            try:
                runner = self._runner_impl(sizes)
            except EdgeExitError:
                raise
            except Exception as error:
                raise engine_refusal(f"the engine refused the sizes {sizes}", error) from error
            self._runners.add(runner)
        return runner

    def operations(self) -> tuple[tuple[str, str], ...]:
        """Return (operation, precision it is executed in) of the compiled graph, where known.

        Raises:
            TargetError: The engine is closed.
        """
        with self._lock:
            self._check_open()
            return self._operations_impl()

    def close(self) -> None:
        """Free the engine. Runners made from it refuse to work from now on; closing twice is fine.

        Raises nothing; a thread in the middle of ``run()`` finishes it.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for runner in tuple(self._runners):
                runner.release()
            self._close_impl()

    def _check_open(self) -> None:
        if self._closed:
            raise closed_engine()

    def _sizes(self, dims: Dims) -> dict[str, int]:
        fixed = self.options.dims
        for symbol, size in dims.items():
            if size < 1 or fixed.get(symbol, size) != size:
                right = fixed.get(symbol, "a positive number")
                raise InputError(
                    f"dimension {symbol!r} cannot be {size}: this engine takes {right}.",
                    hint="open an engine with other dims, or with that dimension left dynamic.",
                    code="input.dimension",
                )
        return {**fixed, **dims}

    @abstractmethod
    def _runner_impl(self, dims: Dims) -> StageRunner:
        """Return a new runner for checked sizes."""

    @abstractmethod
    def _operations_impl(self) -> tuple[tuple[str, str], ...]:
        """Return what :meth:`operations` does; empty where the engine does not tell."""

    @abstractmethod
    def _close_impl(self) -> None:
        """Drop the engine's own objects. Called once."""


class Target(ABC):
    """An inference engine on this machine.

    Attributes:
        name: Its name in the registry.
        precisions: The precisions it can compile for.
        settings: Its own settings by name: the type of the value, or the words to choose from.
        builds_on_device: True where engines are built by :meth:`build`, once a device, and kept.
        takes_device_arrays: True where buffers take arrays of other libraries in the GPU's memory.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    builds_on_device: ClassVar[bool] = False
    takes_device_arrays: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, Setting]] = {}

    def probe(self, threads: int = 0) -> DeviceInfo | Unavailable:
        """Look at the machine without loading a model; never raises.

        Args:
            threads: Threads an inference; 0 leaves the choice to the engine.
        """
        try:
            return self._probe_impl(threads)
        except Exception as error:
            return not_loaded(self.name, error)

    def open(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
    ) -> Engine:
        """Compile an ONNX file (whose bytes the caller has verified).

        Raises:
            InputError: A fixed dimension is not positive.
            TargetError: The target is unavailable, the precision or a setting is not one of its
                own, the file's tensors are not the given ones, or the engine refuses the graph.
        """
        self._require(options)
        try:
            return self._open_impl(model, inputs, outputs, options)
        except EdgeExitError:
            raise
        except Exception as error:
            raise engine_refusal(f"target {self.name!r} refused {model.name}", error) from error

    def build(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
        report: Report | None = None,
    ) -> Built:
        """Build an engine of an ONNX file on this device and keep it in ``options.cache``.

        :meth:`open` does so by itself where nothing is kept yet. Engines that compile when they
        open a graph have nothing to build.

        Raises:
            TargetError: As for :meth:`open`, or the build fails.
            ResourceError: The cache cannot be written.
        """
        self._require(options)
        try:
            return self._build_impl(model, inputs, outputs, options, report)
        except EdgeExitError:
            raise
        except Exception as error:
            raise engine_refusal(f"target {self.name!r} refused {model.name}", error) from error

    def _require(self, options: EngineOptions) -> None:
        found = self.probe()
        if isinstance(found, Unavailable):
            raise unavailable(found)
        self._check_options(options)

    def _check_options(self, options: EngineOptions) -> None:
        if options.precision not in self.precisions:
            raise TargetError(
                f"target {self.name!r} has no precision {options.precision!r}: it has "
                f"{', '.join(self.precisions)}.",
                hint="choose one of them, or another target.",
                code="target.precision",
            )
        for symbol, size in options.dims.items():
            if size < 1:
                raise InputError(
                    f"dimension {symbol!r} cannot be fixed to {size}: a positive number is right.",
                    hint="leave it out to keep it dynamic.",
                    code="input.dimension",
                )
        for key, value in options.settings.items():
            self._check_setting(key, value)

    def _check_setting(self, key: str, value: object) -> None:
        if key not in self.settings:
            raise TargetError(
                f"target {self.name!r} has no setting {key!r}: it has "
                f"{', '.join(self.settings) or 'none'}.",
                hint="mend the [settings] table of the device file.",
                code="target.setting",
            )
        wanted = self.settings[key]
        fits = value in wanted if isinstance(wanted, tuple) else type(value) is wanted
        if not fits:
            right = ", ".join(wanted) if isinstance(wanted, tuple) else f"a {wanted.__name__}"
            raise TargetError(
                f"setting {key!r} of target {self.name!r} cannot be {value!r}: {right} is right.",
                hint="mend the [settings] table of the device file.",
                code="target.setting",
            )

    @abstractmethod
    def _probe_impl(self, threads: int) -> DeviceInfo | Unavailable:
        """Look at the machine; an exception counts as a broken installation."""

    @abstractmethod
    def _open_impl(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
    ) -> Engine:
        """Compile with checked options; an exception of the engine counts as a refusal."""

    def _build_impl(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
        report: Report | None,
    ) -> Built:
        """Build with checked options, or take what was built before."""
        return Built()

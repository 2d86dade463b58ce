"""A compiled stage, and one request of it: what a target's engine and its runners build on."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.targets.buffer import Buffer
from edgeexit.targets.faults import closed_engine, engine_refusal, unknown_tensor
from edgeexit.targets.info import Dims, EngineOptions


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

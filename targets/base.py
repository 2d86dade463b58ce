"""The contract of a target: what an engine must do to run stages.

Three objects, each made by the one before it: a :class:`Target` (an engine on this machine)
opens a stage file as an :class:`Engine` (a compiled stage, shared by threads), which makes
:class:`StageRunner` objects (one request with its own buffers, for one thread at one size).
The base classes check state, names, shapes and dtypes; engines implement the ``_impl`` methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import TensorSpec

Dims = Mapping[str, int]
"""A value for each symbol of a stage's shapes, e.g. ``{"batch": 1}``."""


@dataclass(frozen=True)
class DeviceInfo:
    """What a target found on this machine.

    Attributes:
        engine: Engine and version, e.g. ``openvino 2026.4.1``.
        processor: Name of the processor that will run the stages.
        threads: Threads that the engine will use.
        features: Instruction sets or capabilities that decide speed, e.g. ``avx512_vnni``.
    """

    engine: str
    processor: str
    threads: int
    features: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """One line that tells two devices apart; measured latencies are valid on this one only."""
        return " | ".join((self.engine, self.processor, f"{self.threads} threads", *self.features))


@dataclass(frozen=True)
class Unavailable:
    """Why a target cannot run here, and the command that would change that."""

    reason: str
    hint: str


@dataclass(frozen=True)
class EngineOptions:
    """How to compile a stage.

    Attributes:
        precision: ``f32``, ``bf16``, ``fp16`` or ``int8``.
        threads: Threads an inference; 0 leaves the choice to the engine.
        dims: Symbols fixed at compile time (``{"batch": 1}`` for a static engine); the symbols
            left out stay dynamic.
        settings: Engine-specific settings from the device file.
    """

    precision: str = "f32"
    threads: int = 0
    dims: Dims = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


class Buffer(ABC):
    """A tensor where the engine has it, of one fixed shape."""

    shape: tuple[int, ...]

    @abstractmethod
    def host(self) -> npt.NDArray[Any]:
        """Return the contents for numpy: a view on CPU engines, a copy elsewhere.

        ``bfloat16`` comes as ``uint16``: rows may be copied, never computed on.
        """

    @abstractmethod
    def write(self, array: npt.NDArray[Any]) -> None:
        """Copy ``array`` of the same shape into the buffer."""

    @abstractmethod
    def take(self, rows: npt.NDArray[np.intp], axis: int, out: Buffer) -> None:
        """Copy the given rows along ``axis``, in order, into the buffer ``out``."""


class StageRunner(ABC):
    """One inference request of a compiled stage: its buffers and ``run()``. One thread at a time.

    Args:
        inputs: Tensors the stage reads.
        outputs: Tensors the stage writes.
        dims: A value for each symbol.
    """

    def __init__(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], dims: Dims
    ) -> None:
        self.inputs = {spec.name: spec for spec in inputs}
        self.outputs = {spec.name: spec for spec in outputs}
        self.dims = dict(dims)

    @abstractmethod
    def buffer(self, name: str) -> Buffer:
        """Return the buffer bound to the named input or output."""

    @abstractmethod
    def bind(self, name: str, buffer: Buffer) -> None:
        """Let the named input read from ``buffer``, usually an earlier stage's output."""

    @abstractmethod
    def run(self) -> None:
        """Run the stage on what its input buffers hold. The hot path: no checks, no copies."""


class Engine(ABC):
    """A compiled stage; threads may share it, each with runners of its own."""

    @abstractmethod
    def runner(self, dims: Dims) -> StageRunner:
        """Return a new runner with buffers for the given sizes."""

    @abstractmethod
    def operations(self) -> tuple[tuple[str, str], ...]:
        """Return (operation, precision it is executed in) of the compiled graph, where known."""

    @abstractmethod
    def close(self) -> None:
        """Free the engine. Runners made from it must not be used any more."""


class Target(ABC):
    """An inference engine on this machine."""

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]

    @abstractmethod
    def probe(self) -> DeviceInfo | Unavailable:
        """Look at the machine without loading a model; never raises."""

    @abstractmethod
    def open(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
    ) -> Engine:
        """Compile an ONNX file (whose bytes the caller has verified).

        Raises:
            TargetError: The target is unavailable, the precision is not one of its own, or the
                engine refuses the graph.
        """

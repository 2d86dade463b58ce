"""The contract of a target: what an engine must do to run stages.

Three objects, each made by the one before it: a :class:`Target` (an engine on this machine)
opens a stage file as an :class:`Engine` (a compiled stage, shared by threads), which makes
:class:`StageRunner` objects (one request with its own buffers, for one thread at one size).
The base classes check state, names, shapes and dtypes; engines implement the ``_impl`` methods.

Whoever writes a target finds every name of the contract here, wherever it is defined.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import EdgeExitError, InputError, TargetError
from edgeexit.targets.buffer import Buffer
from edgeexit.targets.engine import Engine, StageRunner
from edgeexit.targets.faults import engine_refusal, not_loaded, unavailable
from edgeexit.targets.info import Built, DeviceInfo, Dims, EngineOptions, Report, Unavailable

__all__ = [
    "Buffer",
    "DeviceInfo",
    "Dims",
    "Engine",
    "EngineOptions",
    "Setting",
    "StageRunner",
    "Target",
    "Unavailable",
]

Setting = type | tuple[str, ...]
"""What an engine-specific setting may be: any value of a type, or one of a few words."""


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

    def channels_last(self, stages: Sequence[Path], maps: Sequence[TensorSpec]) -> frozenset[str]:
        """Choose the boundary tensors that this engine's stages hand on with the channels last.

        What crosses so needs engines of fixed batch sizes: the runtime opens no others then.

        Args:
            stages: The ONNX files of all stages, whose bytes the caller has verified.
            maps: Boundary tensors ``(B, C, H, W)`` that only the stages themselves see.

        Returns:
            Their names, for :attr:`EngineOptions.channels_last`; none unless the target says so.
        """
        return frozenset()

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

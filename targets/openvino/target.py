"""The target ``openvino``: stages on OpenVINO's CPU plugin."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import TargetError
from edgeexit.targets.base import (
    DeviceInfo,
    Engine,
    EngineOptions,
    Setting,
    Target,
    Unavailable,
)
from edgeexit.targets.processor import Processor, available_threads, read_processor

_STATISTICS = "openvino_telemetry"


class OpenVinoTarget(Target):
    """OpenVINO's CPU plugin, with the compute type pinned.

    Feature maps that convolutions read cross from stage to stage with their channels last.

    Its settings, left to the engine unless told:

    - ``cpu_pinning``: whether threads are pinned to cores; False unless told where an inference
      has fewer threads than there are cores, since calls side by side would share the first ones.
    - ``hyper_threading``: whether both threads of a core are used.
    - ``fusion``: False keeps OpenVINO from fusing operations into subgraphs compiled on the spot.
      Slower, but a way out where that fails: OpenVINO 2026.4 crashes on attention whose result
      is added to its input without a projection in between.
    """

    name: ClassVar[str] = "openvino"
    precisions: ClassVar[tuple[str, ...]] = ("f32", "bf16", "int8")
    settings: ClassVar[Mapping[str, Setting]] = {
        "cpu_pinning": bool,
        "hyper_threading": bool,
        "fusion": bool,
    }

    def _probe_impl(self, threads: int) -> DeviceInfo | Unavailable:
        if importlib.util.find_spec("openvino") is None:
            return Unavailable(
                "target 'openvino' needs the package openvino, which is not installed.",
                "pip install 'edgeexit[openvino]'.",
            )
        openvino = import_openvino()
        processor = read_processor()
        version = f"openvino {openvino.__version__.partition('-')[0]}"
        used = threads or available_threads()
        return DeviceInfo(version, processor.name, used, processor.features)

    def channels_last(self, stages: Sequence[Path], maps: Sequence[TensorSpec]) -> frozenset[str]:
        """Choose the maps that convolutions or pooling of a later stage read."""
        if not maps:
            return frozenset()
        import_openvino()
        from edgeexit.targets.openvino.layouts import maps_of_convolutions

        return maps_of_convolutions(stages, maps)

    def _open_impl(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
    ) -> Engine:
        compute = compute_type(options, read_processor())
        import_openvino()
        from edgeexit.targets.openvino.engine import OpenVinoEngine

        return OpenVinoEngine(model, inputs, outputs, options, compute)


def import_openvino() -> ModuleType:
    """Return the module ``openvino``, imported without its usage statistics.

    Its import would send an event over the network; without the package ``openvino_telemetry``
    it does not. An application that imported OpenVINO before has made that choice itself.
    """
    if "openvino" in sys.modules or _STATISTICS in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[_STATISTICS] = None  # type: ignore[assignment]  # imports of it fail
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_STATISTICS]


def compute_type(options: EngineOptions, processor: Processor) -> str:
    """Return the type in which float operations compute, ``f32`` or ``bf16``.

    Raises:
        TargetError: The options ask for bf16 on a processor that does not compute in it.
    """
    wanted = options.precision
    if wanted == "int8":
        wanted = options.int8_compute
        if wanted == "auto":
            return "bf16" if processor.computes_bf16 else "f32"
    if wanted == "bf16" and not processor.computes_bf16:
        raise TargetError(
            f"{processor.name} does not compute in bf16: avx512_bf16 or amx_bf16 is needed.",
            hint="use precision f32, or int8 with int8_compute auto.",
            code="target.precision",
        )
    if wanted not in ("f32", "bf16"):
        raise TargetError(
            f"int8_compute cannot be {wanted!r}: auto, f32 or bf16 is right.",
            hint="mend int8_compute in the device file.",
            code="target.precision",
        )
    return wanted

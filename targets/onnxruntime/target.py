"""The target ``onnxruntime``: stages on ONNX Runtime's CPU execution provider."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
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
from edgeexit.targets.processor import available_threads, read_processor


class OnnxRuntimeTarget(Target):
    """ONNX Runtime's CPU execution provider.

    What stays float at precision ``int8`` computes in float32, unless the graph says float16. At
    ``fp16`` tensors are half as large; most processors compute in float32 between them, slower
    than at ``f32``. Its settings:

    - ``graph_optimization``: ``disable``, ``basic``, ``extended`` or ``all`` (the default).
    - ``spinning``: whether its threads wait for work by spinning; False unless told, because the
      threads of one stage would spin on the cores that the next stage needs.
    """

    name: ClassVar[str] = "onnxruntime"
    precisions: ClassVar[tuple[str, ...]] = ("f32", "fp16", "int8")
    settings: ClassVar[Mapping[str, Setting]] = {
        "graph_optimization": ("disable", "basic", "extended", "all"),
        "spinning": bool,
    }

    def _probe_impl(self, threads: int) -> DeviceInfo | Unavailable:
        if importlib.util.find_spec("onnxruntime") is None:
            return Unavailable(
                "target 'onnxruntime' needs the package onnxruntime, which is not installed.",
                "pip install 'edgeexit[onnxruntime]'.",
            )
        import onnxruntime

        processor = read_processor()
        version = f"onnxruntime {onnxruntime.__version__}"
        used = threads or available_threads()
        return DeviceInfo(version, processor.name, used, processor.features)

    def _open_impl(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
    ) -> Engine:
        if options.int8_compute == "bf16":
            raise TargetError(
                "target 'onnxruntime' cannot compute in bf16: what stays float at precision int8 "
                "is f32.",
                hint="set int8_compute to auto or f32 in the device file.",
                code="target.precision",
            )
        from edgeexit.targets.onnxruntime.engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(model, inputs, outputs, options)

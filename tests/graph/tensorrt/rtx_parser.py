"""NVIDIA's own ONNX parser and builder, from the wheel of TensorRT-RTX; neither needs a GPU.

It shows what an ONNX parser of TensorRT 11's generation refuses. It is not the TensorRT of a
Jetson, and nothing it builds is run.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import onnx
import pytest

MISSING = importlib.util.find_spec("tensorrt_rtx") is None
needs_rtx = pytest.mark.skipif(
    MISSING, reason="tensorrt_rtx is not installed: its parser cannot be compared with the lint"
)

Profile = dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


class Rtx:
    """One logger, builder and parser for an empty network."""

    def __init__(self) -> None:
        import tensorrt_rtx as trt

        class Log(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.lines: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity <= trt.ILogger.WARNING:
                    self.lines.append(message)

        self.trt, self.log = trt, Log()
        self.builder = trt.Builder(self.log)
        typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self.builder.create_network(typed)
        self.parser = trt.OnnxParser(self.network, self.log)

    def parse(self, model: onnx.ModelProto) -> bool:
        return bool(self.parser.parse(model.SerializeToString()))

    def build(self, profile: Profile | None = None) -> bool:
        """Build for SM86, one of the compute capabilities that TensorRT-RTX knows."""
        config = self.builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(self.trt.ComputeCapability.SM86, 0)
        if profile is not None:
            shapes = self.builder.create_optimization_profile()
            for name, sizes in profile.items():
                shapes.set_shape(name, *sizes)
            config.add_optimization_profile(shapes)
        return self.builder.build_serialized_network(self.network, config) is not None


def rtx_verdict(model: onnx.ModelProto, profile: Profile | None = None) -> str:
    """Return ``parser`` or ``builder`` for what refused the model, or ``built``."""
    rtx = Rtx()
    if not rtx.parse(model):
        return "parser"
    return "built" if rtx.build(profile) else "builder"

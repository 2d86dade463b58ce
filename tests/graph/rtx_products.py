"""The products of a stage that TensorRT-RTX built for SM86, and the types they take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

LAYER = re.compile(r"^Name: (\S+), LayerType: (gemm|correlation|runtime_fusion), Inputs: (.*)$")


def rtx_products(model: ir.Model, path: Path) -> list[tuple[str, str]]:
    """Build a stage with TensorRT-RTX for SM86; return kind and input type of its products."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")

    class Lines(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self.lines += message.splitlines()

    ir.save(model, path)
    logger = Lines()
    builder = trt.Builder(logger)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    built = builder.create_network(typed)
    parser = trt.OnnxParser(built, logger)
    errors = [] if parser.parse_from_file(str(path)) else [parser.get_error(0).desc()]
    assert errors == []
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    for number in range(built.num_inputs):
        tensor = built.get_input(number)
        shapes = [tuple(n if d == -1 else d for d in tensor.shape) for n in (1, 4, 8)]
        profile.set_shape(tensor.name, *shapes)
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(built, config) is not None, logger.lines[-3:]
    found = [match for line in logger.lines if (match := LAYER.match(line))]
    assert found
    types = [(m[2], re.search(r"Datatype: (\w+)", m[3])) for m in found]
    return [(kind, datatype[1]) for kind, datatype in types if datatype is not None]

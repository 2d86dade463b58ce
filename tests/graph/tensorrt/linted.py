"""A case as the lint sees it: loaded, and what is found in it."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgeexit.graph.lint import Finding
from edgeexit.graph.normalize import give_names
from edgeexit.graph.shapes import infer_shapes
from edgeexit.graph.tensorrt.lint import lint_tensorrt
from tests.graph.tensorrt.cases.case import Case

LATEST = "11.0"
"""The version that TensorRT-RTX 1.7's parser is compared with."""


def loaded(proto: onnx.ModelProto) -> ir.Model:
    model = ir.serde.deserialize_model(proto)
    give_names(model)
    infer_shapes(model)
    return model


def findings(case: Case, version: str = LATEST, stage: int | None = None) -> tuple[Finding, ...]:
    return lint_tensorrt(loaded(case.proto()), stage, version=version)


def errors(found: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in found if finding.severity == "error"]

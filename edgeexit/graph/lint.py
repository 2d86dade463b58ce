"""What an engine would refuse or silently misread, found before it sees the graph.

TensorRT's parser accepts activations quantized per channel and weights along the wrong axis and
then computes something else, so these rules are checked here and not left to engines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgeexit.errors import ModelError
from edgeexit.graph.constants import contents, scale_axis

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})

Severity = Literal["error", "warning"]
"""Whether a finding stops a compilation."""


@dataclass(frozen=True)
class Finding:
    """One thing an engine would refuse or misread.

    Attributes:
        rule: The rule's name, e.g. ``zero-point``.
        node: Name of the node; of the value, where an input, output or weight is meant.
        stage: Number of the stage, or None for the whole model.
        message: What is wrong.
        remedy: What would mend it.
        severity: ``error``, or ``warning`` for what builds and computes what it should.
    """

    rule: str
    node: str
    stage: int | None
    message: str
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        kind = "" if self.severity == "error" else f"{self.severity}: "
        place = f"stage {self.stage}, " if self.stage is not None else ""
        return f"{kind}{self.rule}: {place}{self.node}: {self.message} {self.remedy}"


def lint(model: ir.Model, stage: int | None = None) -> tuple[Finding, ...]:
    """Return what engines would refuse or misread in a model or a stage.

    Rules: ``zero-point`` (0 everywhere), ``unsigned`` (no uint8 in quantization pairs), ``scale``
    (positive and finite), ``weight-axis`` (weights per output channel), ``activation-axis``
    (activations per tensor), ``boundary`` (no stage edge behind a DequantizeLinear), ``domain``
    (only ONNX operators), ``control-flow``.

    Args:
        model: The whole model, or one stage.
        stage: Number of the stage, for the findings; the rule ``boundary`` is for stages only.
    """
    findings: list[Finding] = []
    for node in model.graph:
        rules = [*_operator_findings(node)]
        if node.op_type in _PAIR:
            rules += [*_parameter_findings(node), *_axis_findings(node)]
        if stage is not None:
            rules += _boundary_findings(node)
        findings += [
            Finding(rule, str(node.name), stage, message, remedy) for rule, message, remedy in rules
        ]
    return tuple(findings)


def require_clean(model: ir.Model, stage: int | None = None) -> None:
    """Raise if :func:`lint` finds anything.

    Raises:
        ModelError: The first findings are named.
    """
    findings = lint(model, stage)
    if findings:
        raise ModelError(
            f"{len(findings)} findings that engines would refuse or misread; the first: "
            f"{findings[0].node}: {findings[0].message}",
            hint=findings[0].remedy,
            code=f"model.lint.{findings[0].rule}",
        )


_Text = tuple[str, str, str]


def _operator_findings(node: ir.Node) -> Iterator[_Text]:
    if node.domain not in ("", "ai.onnx"):
        yield (
            "domain",
            f"{node.domain}.{node.op_type} is no ONNX operator.",
            "Export with standard operators only.",
        )
    if node.op_type in _CONTROL_FLOW:
        yield (
            "control-flow",
            f"{node.op_type} decides by data what it runs.",
            "Export all exits without leaving early.",
        )


def _parameter_findings(node: ir.Node) -> Iterator[_Text]:
    """Check scale, zero point and the quantized type of one Q or DQ node."""
    scale = contents(node, 1)
    if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
        yield "scale", "its scale is not a positive constant.", "Quantize the model again."
    zero = contents(node, 2)
    if zero is not None and zero.any():
        yield "zero-point", f"its zero point is {zero.ravel()[0]}.", "Quantize symmetrically."
    quantized = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    dtype = zero.dtype.name if zero is not None else None
    unsigned = ir.DataType.UINT8
    if dtype == "uint8" or (quantized is not None and quantized.dtype == unsigned):
        yield "unsigned", "it quantizes to uint8.", "Repair it with signed_activations()."


def _axis_findings(node: ir.Node) -> Iterator[_Text]:
    """Check that weights are scaled per output channel, and activations per tensor."""
    scale, source = contents(node, 1), node.inputs[0]
    if scale is None or scale.size == 1 or source is None or "block_size" in node.attributes:
        return
    if not source.is_initializer():
        yield (
            "activation-axis",
            f"an activation has {scale.size} scales.",
            "Quantize activations per tensor.",
        )
        return
    axis = scale_axis(node)
    rank = len(source.shape) if source.shape is not None else 0
    dequantized = node.outputs[0]
    for user, port in dequantized.uses():
        expected = output_axis(user, port, rank)
        if expected is not None and (rank == 0 or axis % rank != expected):
            yield (
                "weight-axis",
                f"its weight is scaled along axis {axis}; the output channels of {user.op_type} "
                f"{user.name!r} are axis {expected}.",
                "Quantize weights per output channel.",
            )


def output_axis(node: ir.Node, port: int, rank: int) -> int | None:
    """Return the axis of output channels of the weight at a node's input, or None if unknown."""
    if node.op_type == "Conv" and port == 1:
        return 0
    if node.op_type == "ConvTranspose" and port == 1:
        return 1
    if node.op_type == "MatMul":
        return rank - 1 if port == 1 else rank - 2
    if node.op_type == "Gemm" and port == 1:
        transposed = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
        return 0 if transposed else 1
    return None


def _boundary_findings(node: ir.Node) -> Iterator[_Text]:
    """A DequantizeLinear whose output leaves the stage, though its int8 input could have."""
    if node.op_type == "DequantizeLinear" and node.outputs[0].is_graph_output():
        yield (
            "boundary",
            "its output leaves the stage, so the next one starts without int8.",
            "Cut before it and repeat it in the stages that read it.",
        )

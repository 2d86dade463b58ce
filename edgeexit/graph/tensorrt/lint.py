"""What TensorRT would refuse or misread of an ONNX graph, found without TensorRT.

The parser's own refusals come late, on the device, and name layers of its own making. It also
accepts what it then computes differently: scales per channel of activations, weights scaled along
the wrong axis, uint8 taken for int8, float64 taken for float32, a foreign operator with the name
of a known one. The rules here were compared, construct by construct, with the parser and builder
of TensorRT-RTX; ``tests/graph/tensorrt/test_lint.py`` repeats the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from edgeexit.bundle.specs import Manifest
from edgeexit.errors import ModelError
from edgeexit.graph.lint import Finding, lint
from edgeexit.graph.shapes import infer_shapes
from edgeexit.graph.tensorrt.operators import Operators, read_operators
from edgeexit.graph.tensorrt.quantizers import quantizer_faults
from edgeexit.graph.tensorrt.rules import QUANTIZERS, Fault, Surroundings, node_faults, survey
from edgeexit.graph.tensorrt.values import input_faults, output_faults, weight_faults

_HALF_SCALES = 19
"""The opset from which ONNX knows scales in float16."""


def lint_tensorrt(
    model: ir.Model, stage: int | None = None, *, version: str = "10.3"
) -> tuple[Finding, ...]:
    """Return what TensorRT would refuse or misread in a strongly typed network.

    The rules of :func:`edgeexit.graph.lint.lint`, and these:

    - of the model: ``opset``, ``weights-size``;
    - of inputs, outputs and weights: ``type``, ``float64``, ``int64``, ``unsigned``,
      ``dynamic-axis``, ``rank``, ``int8-constant``;
    - of operators: ``operator`` (unknown to the version), ``type`` (an element type it does not
      compute), ``mixed-types``, ``restriction`` (an attribute or a form it does not read),
      ``data-dependent`` (a shape that only the data decide), ``rank``, ``int64``;
    - of quantizers: ``unsigned`` (no zero point means uint8), ``quantizer-type``,
      ``quantized-type``, ``zero-point``, ``scale``, ``block``.

    Args:
        model: The whole model, or one stage. Where types are unknown, as in a stage read from
            its file, they are inferred and filled in; nothing else of it changes.
        stage: Number of the stage, for the findings.
        version: The TensorRT version that shall read it; 10.3 is that of JetPack 6.1 and 6.2.

    Returns:
        The findings: those of the common rules first, then in the order of the graph.

    Raises:
        InputError: ``version`` is no TensorRT version, or older than 10.0.
    """
    operators = read_operators(version)
    if any(output.dtype is None for node in model.graph for output in node.outputs):
        infer_shapes(model)
    surroundings = survey(model, operators)
    findings = list(lint(model, stage))
    reported = {(finding.rule, finding.node) for finding in findings}
    for name, fault in _faults(model, operators, surroundings):
        if (fault.rule, name) not in reported:
            findings.append(
                Finding(fault.rule, name, stage, fault.message, fault.remedy, fault.severity)
            )
    return tuple(findings)


def require_tensorrt_clean(
    model: ir.Model, stage: int | None = None, *, version: str = "10.3"
) -> tuple[Finding, ...]:
    """Raise if :func:`lint_tensorrt` finds an error.

    Args:
        model: The whole model, or one stage.
        stage: Number of the stage, for the findings.
        version: The TensorRT version that shall read it.

    Returns:
        The warnings.

    Raises:
        ModelError: The first error is named, and their count.
        InputError: ``version`` is no TensorRT version, or older than 10.0.
    """
    findings = lint_tensorrt(model, stage, version=version)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        first = errors[0]
        place = f"stage {first.stage}, " if first.stage is not None else ""
        count = "1 finding" if len(errors) == 1 else f"{len(errors)} findings"
        raise ModelError(
            f"{count} that TensorRT {version} would refuse or misread; the first: "
            f"{place}{first.node}: {first.message}",
            hint=first.remedy,
            code=f"model.tensorrt.{first.rule}",
        )
    return findings


def require_buildable(
    folder: Path, manifest: Manifest, *, version: str = "10.3"
) -> tuple[Finding, ...]:
    """Raise if TensorRT would refuse or misread a graph of a bundle that is being written.

    Args:
        folder: The bundle's folder; the graphs and their weights are in it.
        manifest: Names the stages, the whole graph and the static one.
        version: The TensorRT version that shall read them.

    Returns:
        The warnings of all graphs.

    Raises:
        ModelError: The first error of the first graph that has one is named.
        InputError: ``version`` is no TensorRT version, or older than 10.0.
    """
    graphs: list[tuple[str, int | None]] = [(stage.file, stage.number) for stage in manifest.stages]
    graphs += [(manifest.whole, None), (manifest.static, None)]
    warnings: list[Finding] = []
    for file, number in graphs:
        model = ir.load(folder / file)
        warnings += require_tensorrt_clean(model, number, version=version)
    return tuple(warnings)


def _faults(
    model: ir.Model, operators: Operators, surroundings: Surroundings
) -> Iterator[tuple[str, Fault]]:
    """Yield each fault with the name of the node or value it belongs to."""
    graph = model.graph
    for fault in _opset_faults(model, operators):
        yield str(graph.name or "graph"), fault
    for value in graph.inputs:
        for fault in input_faults(value):
            yield str(value.name), fault
    yield from weight_faults(graph)
    for node in graph:
        for fault in (*node_faults(node, surroundings), *quantizer_faults(node)):
            yield str(node.name), fault
    for value in graph.outputs:
        for fault in output_faults(value):
            yield str(value.name), fault


def _opset_faults(model: ir.Model, operators: Operators) -> Iterator[Fault]:
    """Compare the opset with those documented; the parser itself reads any without a word."""
    opset = model.graph.opset_imports.get("", model.graph.opset_imports.get("ai.onnx", 0))
    first, last = operators.opsets
    version = ".".join(map(str, operators.version))
    if opset < first:
        yield Fault(
            "opset",
            f"the model uses opset {opset}; TensorRT {version} reads {first} to {last}.",
            "Export it with opset 20.",
        )
    elif opset > last:
        yield Fault(
            "opset",
            f"the model uses opset {opset}; the documentation of TensorRT {version} ends at "
            f"{last}, and its parser reads later operators by the older rules.",
            "Export it with opset 20.",
            "warning",
        )
    half = any(
        node.op_type in QUANTIZERS
        and len(node.inputs) > 1
        and node.inputs[1] is not None
        and node.inputs[1].dtype == ir.DataType.FLOAT16
        for node in model.graph
    )
    if half and opset < _HALF_SCALES:
        yield Fault(
            "opset",
            f"scales in float16 need opset {_HALF_SCALES}; the model uses {opset}.",
            "Export it with opset 20.",
        )

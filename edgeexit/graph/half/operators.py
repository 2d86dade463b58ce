"""Which inputs and outputs of an operator share a type, and which of them may be float16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

_FLOAT, _HALF = "tensor(float)", "tensor(float16)"

_FROM_ATTRIBUTE = frozenset(
    {
        *("Bernoulli", "BlackmanWindow", "EyeLike", "HammingWindow", "HannWindow"),
        *("MelWeightMatrix", "Multinomial", "RandomNormal", "RandomNormalLike"),
        *("RandomUniform", "RandomUniformLike"),
    }
)
"""Operators whose ``dtype`` attribute decides the type of what they make: they stay as they are."""


@dataclass(frozen=True)
class PortTypes:
    """The inputs and outputs of one node that are float32 and could be float16.

    Attributes:
        inputs: Their positions among the inputs.
        outputs: Their positions among the outputs.
    """

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


def half_ports(node: ir.Node, opset: int) -> PortTypes:
    """Return what of a node could become float16 together, after the operator's definition.

    A type variable of the definition is taken whole, so a node never mixes types that must be
    equal. Empty where the operator is unknown, or decides its type by an attribute.

    Args:
        node: All its inputs and outputs have a dtype.
        opset: The model's opset.
    """
    schema = _schema(node, opset)
    if schema is None or node.op_type in _FROM_ATTRIBUTE:
        return PortTypes()
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    inputs, outputs = (_labels(f, n) for f, n in _formals(schema, node))
    variables = {name for name, types in allowed.items() if {_FLOAT, _HALF} <= types}
    return PortTypes(
        _floats(inputs, node.inputs, variables), _floats(outputs, node.outputs, variables)
    )


def _schema(node: ir.Node, opset: int) -> onnx.defs.OpSchema | None:
    if node.domain not in ("", "ai.onnx"):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _formals(
    schema: onnx.defs.OpSchema, node: ir.Node
) -> tuple[tuple[Sequence[onnx.defs.OpSchema.FormalParameter], int], ...]:
    return (schema.inputs, len(node.inputs)), (schema.outputs, len(node.outputs))


def _labels(formals: Sequence[onnx.defs.OpSchema.FormalParameter], count: int) -> list[str]:
    """Return the type variable, or the type, of each input or output; the last one repeats."""
    return [formals[min(port, len(formals) - 1)].type_str for port in range(count)]


def _floats(
    labels: Sequence[str], values: Sequence[ir.Value | None], variables: set[str]
) -> tuple[int, ...]:
    return tuple(
        port
        for port, (label, value) in enumerate(zip(labels, values, strict=True))
        if value is not None and value.dtype == ir.DataType.FLOAT and label in variables
    )

"""What of a graph is quantized: what should be, and what is."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeexit.errors import InputError
from edgeexit.graph.gate_inputs import exit_values
from edgeexit.graph.repairs import PRODUCTS


@dataclass(frozen=True)
class QuantizationReport:
    """What of a model runs in int8.

    Attributes:
        products: Matrix products and convolutions.
        int8: Those of them whose two operands are int8.
        float_nodes: Names of the others.
    """

    products: int
    int8: int
    float_nodes: tuple[str, ...]


def count_int8(graph: ir.Graph) -> QuantizationReport:
    """Return how many matrix products and convolutions of a graph read int8 on both sides."""
    products = [node for node in graph if node.op_type in PRODUCTS]
    floats = tuple(str(node.name) for node in products if not _reads_int8(node))
    return QuantizationReport(len(products), len(products) - len(floats), floats)


def _reads_int8(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs[:2] if value is not None]
    return all(p is not None and p.op_type == "DequantizeLinear" for p in producers)


def is_transformer(graph: ir.Graph) -> bool:
    """Tell whether a graph attends: a softmax feeds a matrix product, or there is an Attention."""
    for node in graph:
        if node.op_type == "Attention":
            return True
        if node.op_type == "Softmax":
            ahead = [user for user, _ in node.outputs[0].uses()]
            ahead += [user for step in ahead for out in step.outputs for user, _ in out.uses()]
            if any(user.op_type in ("MatMul", "Einsum") for user in ahead):
                return True
    return False


def nodes_kept_float(graph: ir.Graph, patterns: Sequence[str]) -> list[str]:
    """Return the names of the nodes that patterns keep in float.

    Raises:
        InputError: A pattern matches no node and no exit.
    """
    heads = {str(value.name): _last_product(value) for value in exit_values(graph)}
    names = [str(node.name) for node in graph]
    kept: list[str] = []
    for pattern in patterns:
        matched = [name for name in names if _matches(pattern, name)]
        matched += [head for exit_, head in heads.items() if head and _matches(pattern, exit_)]
        if not matched:
            raise InputError(
                f"--keep-float {pattern!r} matches no node and no exit.",
                hint=f"exits are {', '.join(heads)}; node names look like {names[0]!r}.",
                code="input.keep-float",
            )
        kept += matched
    return sorted(set(kept))


def _matches(pattern: str, name: str) -> bool:
    if fnmatch.fnmatchcase(name, pattern):
        return True
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _last_product(value: ir.Value) -> str | None:
    """Return the name of the nearest matrix product or convolution before an exit."""
    pending, seen = [value], {value}
    while pending:
        node = pending.pop(0).producer()
        if node is None:
            continue
        if node.op_type in PRODUCTS:
            return node.name
        ahead = [v for v in node.inputs if v is not None and v not in seen]
        seen.update(ahead)
        pending.extend(ahead)
    return None

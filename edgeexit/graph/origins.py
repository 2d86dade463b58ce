"""What a value of a graph depends on: constants alone, shapes, or data."""

from __future__ import annotations

from enum import Enum

import onnx_ir as ir


class Origin(Enum):
    """What a value carries.

    Attributes:
        CONSTANT: The same for every input.
        SHAPE: Depends on the sizes of the inputs, not on their contents.
        DATA: Depends on the contents of the inputs.
    """

    CONSTANT = 0
    SHAPE = 1
    DATA = 2


def is_constant(value: ir.Value) -> bool:
    """Tell whether a value is an initializer."""
    return value.producer() is None and (value.const_value is not None or value.is_initializer())


def find_origins(graph: ir.Graph) -> dict[ir.Value, Origin]:
    """Return the origin of every value of a graph whose nodes are in topological order."""
    origins: dict[ir.Value, Origin] = dict.fromkeys(graph.inputs, Origin.DATA)
    origins |= dict.fromkeys(graph.initializers.values(), Origin.CONSTANT)
    for node in graph:
        if node.op_type in ("Shape", "Size"):
            origin = Origin.SHAPE
        else:
            read = [origins[v] for v in node.inputs if v is not None]
            origin = max(read, key=lambda o: o.value, default=Origin.CONSTANT)
        origins |= dict.fromkeys(node.outputs, origin)
    return origins

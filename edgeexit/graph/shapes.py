"""Names of dynamic axes, and the shape and dtype of every value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgeexit.bundle.specs import BATCH


def infer_shapes(model: ir.Model) -> None:
    """Give values the dtype and shape that follow from the inputs; weights are not copied."""
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def all_values(graph: ir.Graph) -> Iterable[ir.Value]:
    """Yield the inputs, initializers and node outputs of a graph."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def set_symbols(model: ir.Model, dims: Mapping[str, int | str]) -> None:
    """Replace symbolic dimensions, by symbol, in every shape of a model.

    Args:
        model: Changed in place.
        dims: A number or a new symbol for each symbol to replace; the others stay.
    """
    for value in all_values(model.graph):
        if value.shape is None or value.shape.is_static():
            continue
        value.shape = ir.Shape(
            [
                dim if isinstance(dim, int) else dims.get(str(dim.value), dim.value)
                for dim in value.shape
            ]
        )


def name_symbols(model: ir.Model) -> None:
    """Name the dynamic axes of a model's inputs: ``batch``, and a plain identifier for others.

    1. The batch is axis 0 of the first input where that axis is dynamic, and axis 0 of each
       other input unless its symbol also stands on a later axis.
    2. Any other symbol keeps its name, with characters outside ``[A-Za-z0-9_]`` replaced.
    3. An axis without a symbol is named after its input and position.
    """
    for value in model.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape(
                [
                    dim if isinstance(dim, int) or dim.value is not None else f"{value.name}_{axis}"
                    for axis, dim in enumerate(value.shape)
                ]
            )
    shapes = [value.shape for value in model.graph.inputs if value.shape]
    later = {str(dim.value) for s in shapes for dim in s.dims[1:] if not isinstance(dim, int)}
    first = [str(s[0].value) for s in shapes if not isinstance(s[0], int)]
    batch = {symbol for symbol in first if symbol not in later} or set(first[:1])
    renamed: dict[str, int | str] = dict.fromkeys(batch, BATCH)
    for symbol in sorted(set(first) | later):
        if symbol not in renamed:
            taken = {BATCH, *(str(name) for name in renamed.values())}
            renamed[symbol] = _unused(_identifier(symbol), taken)
    if any(old != new for old, new in renamed.items()):
        set_symbols(model, renamed)


def _identifier(symbol: str) -> str:
    name = re.sub(r"\W", "_", symbol, flags=re.ASCII)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def _unused(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        candidate = f"{name}_{number}"
        number += 1
    return candidate

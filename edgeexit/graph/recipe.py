"""The recipe of a bundle: what is expected of the engines that a device builds of its graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from edgeexit.bundle.recipe import LARGEST_SIZE, SCHEMA, GraphRecipe, Range, Recipe, is_range
from edgeexit.bundle.specs import BATCH, TensorSpec, dim_symbol
from edgeexit.errors import InputError
from edgeexit.graph.repairs import PRODUCTS

_MOVEMENT = frozenset({"Flatten", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""Operations through which TensorRT takes a DequantizeLinear to the product behind them."""


def make_recipe(
    bundle: Path,
    files: Sequence[str],
    ranges: Mapping[str, Range],
    float32_nodes: Mapping[str, str],
) -> Recipe:
    """Return the recipe for the graphs of a bundle.

    Args:
        bundle: The bundle's folder.
        files: POSIX paths of its graphs.
        ranges: Sizes of every symbol.
        float32_nodes: Nodes that stay float32 in a half-precision graph, and why.
    """
    models = [ir.load(bundle / file) for file in files]
    graphs = tuple(
        _graph_recipe(file, model.graph) for file, model in zip(files, models, strict=True)
    )
    halves = any(
        value.dtype == ir.DataType.FLOAT16
        for model in models
        for value in model.graph.initializers.values()
    )
    return Recipe(
        schema=SCHEMA,
        typing="strong",
        opset=models[0].graph.opset_imports[""],
        float_type="float16" if halves else "float32",
        ranges=dict(ranges),
        graphs=graphs,
        float32_nodes=dict(float32_nodes),
    )


def check_ranges(
    inputs: Sequence[TensorSpec], ranges: Mapping[str, Range], default: Mapping[str, Range]
) -> dict[str, Range]:
    """Return a range for every symbol of the inputs' shapes.

    Args:
        inputs: The model's inputs.
        ranges: What the user gave.
        default: What holds where nothing was given.

    Raises:
        InputError: A symbol has no range, a range names no symbol, is not ascending or too large.
    """
    symbols = {dim_symbol(dim) for spec in inputs for dim in spec.shape} - {None}
    for symbol, sizes in ranges.items():
        if symbol not in symbols:
            raise InputError(
                f"the range of {symbol!r} names no dynamic dimension: the model has "
                f"{', '.join(sorted(map(str, symbols))) or 'none'}.",
                hint="leave it out, or name one of them.",
                code="input.range",
            )
        low, usual, high = sizes
        if not is_range(low, usual, high) or (symbol == BATCH and low != 1):
            raise InputError(
                f"the range of {symbol!r} cannot be {low}, {usual}, {high}.",
                hint="give the smallest, the typical and the largest size, ascending to at most "
                f"{LARGEST_SIZE}; the batch starts at 1.",
                code="input.range",
            )
    known = {**default, **ranges}
    missing = sorted(str(symbol) for symbol in symbols if symbol not in known)
    if missing:
        raise InputError(
            f"dimension {missing[0]!r} is dynamic, and this device's engines are built for a "
            "range of sizes.",
            hint=f"give the smallest, typical and largest size: --range {missing[0]}=16,64,128.",
            code="input.range",
        )
    return {str(symbol): known[str(symbol)] for symbol in sorted(map(str, symbols))}


def _graph_recipe(file: str, graph: ir.Graph) -> GraphRecipe:
    layers: dict[bool, list[str]] = {True: [], False: []}
    for node in graph:
        if node.op_type in PRODUCTS:
            layers[_is_quantized(node)].append(str(node.name))
    return GraphRecipe(file, tuple(layers[True]), tuple(layers[False]))


def _is_quantized(node: ir.Node) -> bool:
    """Tell whether both operands come from int8, moved perhaps but not computed on."""
    return all(_from_int8(value) for value in node.inputs[:2])


def _from_int8(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    while producer is not None and producer.op_type in _MOVEMENT:
        value = producer.inputs[0]
        producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"

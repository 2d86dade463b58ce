"""What a device needs to know to build engines of a bundle's graphs: ``recipe.json``.

Engines such as TensorRT's can be built only on the device that runs them. The host writes down what
it knows, the device builds by it and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from edgeexit.bundle.codec import decode, encode
from edgeexit.bundle.jsonfile import Json, damaged
from edgeexit.bundle.specs import BATCH

RECIPE = "recipe.json"
"""Path of the recipe in a bundle."""

SCHEMA = 1

LARGEST_SIZE = 2**31 - 1
"""Largest size of a dimension, that of an int32: beyond any memory, and no engine chokes on it."""

Range = tuple[int, int, int]
"""The smallest, typical and largest size of a dimension."""


@dataclass(frozen=True)
class GraphRecipe:
    """What is expected of the engine of one graph.

    Attributes:
        file: POSIX path of the ONNX file, relative to the bundle.
        int8_layers: Names of the matrix products and convolutions whose operands are quantized,
            which the engine should run in int8.
        float_layers: Names of the other ones.
    """

    file: str
    int8_layers: tuple[str, ...]
    float_layers: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """How the graphs of a bundle are to be built.

    Attributes:
        schema: Version of this file's format.
        typing: ``strong``: types are those of the graph, the builder chooses none.
        opset: The ONNX opset of the graphs.
        float_type: Type in which what is not int8 computes, but for ``float32_nodes``.
        ranges: Smallest, typical and largest size of every symbol, the batch among them.
        graphs: One entry a graph of the bundle.
        float32_nodes: Nodes that stay float32 in a half-precision graph, and why, by name.
    """

    schema: int
    typing: Literal["strong"]
    opset: int
    float_type: Literal["float32", "float16"]
    ranges: Mapping[str, tuple[int, ...]]
    graphs: tuple[GraphRecipe, ...]
    float32_nodes: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Json]:
        """Return the recipe as JSON values."""
        return cast(dict[str, Json], encode(self))

    @classmethod
    def from_json(cls, value: Json) -> Recipe:
        """Return the recipe that JSON values hold.

        Raises:
            BundleError: A key is unknown or missing, a value has another type, the schema is
                newer, or a range is not ascending from 1 to :data:`LARGEST_SIZE`.
        """
        recipe = decode(cls, value, RECIPE)
        if recipe.schema != SCHEMA:
            raise damaged(RECIPE, f"has schema {recipe.schema}; this edgeexit reads {SCHEMA}.")
        for symbol, sizes in recipe.ranges.items():
            if len(sizes) != 3 or not is_range(*sizes):
                raise damaged(
                    RECIPE,
                    f"ranges.{symbol[:80]} is {list(sizes)}; three ascending sizes from 1 to "
                    f"{LARGEST_SIZE}.",
                )
        return recipe

    def sizes(self) -> dict[str, Range]:
        """Return :attr:`ranges` with the tuples' length in their type."""
        return {symbol: (low, usual, high) for symbol, (low, usual, high) in self.ranges.items()}

    def graph(self, file: str) -> GraphRecipe | None:
        """Return the entry of a graph by its path in the bundle, or None where there is none."""
        return next((graph for graph in self.graphs if graph.file == file), None)


def is_range(low: int, usual: int, high: int) -> bool:
    """Tell whether three sizes ascend and engines have room for them."""
    return 1 <= low <= usual <= high <= LARGEST_SIZE


def batch_range(buckets: tuple[int, ...]) -> dict[str, Range]:
    """Return the range of the batch that a device file's buckets span.

    The typical size is the largest: every batch starts with it, and what the later stages get is
    known only after calibration.
    """
    return {BATCH: (1, buckets[-1], buckets[-1])}

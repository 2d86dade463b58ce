from __future__ import annotations

import pytest

from edgeexit.bundle.recipe import GraphRecipe, Recipe, batch_range
from edgeexit.errors import BundleError

RECIPE = Recipe(
    schema=1,
    typing="strong",
    opset=20,
    float_type="float16",
    ranges={"batch": (1, 8, 32), "seq": (16, 64, 128)},
    graphs=(GraphRecipe("graphs/stage-1.onnx", ("conv_1",), ("head",)),),
    float32_nodes={"norm": "1e-12 is 0 in float16"},
)


def changed(**values):
    return RECIPE.as_json() | values


def test_json_and_back():
    assert Recipe.from_json(RECIPE.as_json()).as_json() == RECIPE.as_json()
    assert Recipe.from_json(RECIPE.as_json()).sizes() == RECIPE.ranges


def test_a_graph_is_found_by_its_file():
    graph = RECIPE.graph("graphs/stage-1.onnx")
    assert graph is not None
    assert graph.int8_layers == ("conv_1",)
    assert RECIPE.graph("graphs/stage-2.onnx") is None


def test_batches_span_the_buckets_of_the_device():
    assert batch_range((1, 2, 8)) == {"batch": (1, 8, 8)}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"schema": 2}, "has schema 2; this edgeexit reads 1"),
        ({"ranges": {"batch": [1, 2]}}, r"ranges.batch is \[1, 2\]; three ascending sizes from 1"),
        ({"ranges": {"batch": [4, 2, 8]}}, r"ranges.batch is \[4, 2, 8\]"),
        ({"ranges": {"batch": [0, 2, 8]}}, r"ranges.batch is \[0, 2, 8\]"),
        ({"ranges": {"batch": [1, 2, 1 << 31]}}, "ascending sizes from 1 to 2147483647"),
        ({"ranges": {"batch": ["1", 2, 8]}}, "ranges"),
        ({"typing": "weak"}, "typing"),
        ({"float_type": "bfloat16"}, "float_type"),
        ({"command": "rm"}, "command"),
    ],
)
def test_another_recipe_is_refused(values, words):
    with pytest.raises(BundleError, match=words):
        Recipe.from_json(changed(**values))

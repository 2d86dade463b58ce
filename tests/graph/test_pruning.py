"""Exits cut out of a graph: what is left is what the others need, and computes the same."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.graph.partition import partition
from edgeexit.graph.pruning import exit_flops, keep_exits
from tests.graph.onnx_models import weight
from tests.graph.slicing import model_of, names, run_stages, run_whole

TEXT = """g (float[N,8] x, float[N,8] aside) => (float[N,3] a, float[N,3] b, float[N,3] c) {
    h1 = MatMul(x, w1)
    a = MatMul(h1, wa)
    h2 = MatMul(h1, w2)
    tilt = MatMul(aside, w3)
    b0 = Add(h2, tilt)
    b = MatMul(b0, wb)
    h3 = MatMul(h2, w4)
    c = MatMul(h3, wc)
}"""
SHAPES = {"w1": (8, 8), "wa": (8, 3), "w2": (8, 8), "w3": (8, 8), "wb": (8, 3), "w4": (8, 8)}


def model():
    shapes = SHAPES | {"wc": (8, 3)}
    return model_of(TEXT, **{name: weight(*shape) for name, shape in shapes.items()})


def test_the_kept_exits_answer_bit_for_bit_as_before(tmp_path):
    inputs = {name: weight(5, 8, seed=7) for name in ("x", "aside")}
    before = run_whole(model(), inputs, tmp_path)
    pruned = model()
    keep_exits(pruned, (1, 3))
    assert names(pruned.graph.outputs) == ["a", "c"]
    plans, logits = run_stages(pruned, {"x": inputs["x"]}, tmp_path)
    assert len(plans) == 2
    for name in ("a", "c"):
        np.testing.assert_array_equal(logits[name], before[name])


def test_what_only_a_cut_exit_needed_is_gone():
    pruned = model()
    keep_exits(pruned, (1, 3))
    assert names(pruned.graph.inputs) == ["x"]
    assert set(pruned.graph.initializers) == {"w1", "wa", "w2", "w4", "wc"}


def test_the_stage_of_a_cut_exit_is_joined_with_the_next():
    pruned = model()
    keep_exits(pruned, (1, 3))
    stage = partition(pruned)[1]
    assert [node.outputs[0].name for node in stage.owned] == ["h2", "h3", "c"]


def test_one_exit_alone_is_one_stage():
    pruned = model()
    keep_exits(pruned, (2,))
    (stage,) = partition(pruned)
    assert names(pruned.graph.outputs) == ["b"]
    assert len(stage.owned) == 5
    assert names(stage.inputs) == ["x", "aside"]


def test_flops_are_told_apart_by_the_exits_that_need_them():
    square, head = 2 * 8 * 8, 2 * 8 * 3
    found = exit_flops(model(), {"batch": 1})
    assert found == {
        (1, 2, 3): square,
        (1,): head,
        (2, 3): square,
        (2,): square + head,
        (3,): square + head,
    }


@pytest.mark.parametrize("kept", [(1, 3), (2, 3), (1, 2, 3)])
def test_flops_of_the_pruned_graph_are_those_counted_for_the_subset(kept):
    whole = exit_flops(model(), {"batch": 1})
    pruned = model()
    keep_exits(pruned, kept)
    left = sum(exit_flops(pruned, {"batch": 1}).values())
    assert left == sum(count for users, count in whole.items() if set(users) & set(kept))

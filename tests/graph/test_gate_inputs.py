"""Tensors beside the logits: which are recognised, whose they are, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from edgeexit.errors import ModelError
from edgeexit.graph.gate_inputs import GIVEN, exit_values
from edgeexit.graph.normalize import normalize
from edgeexit.graph.partition import partition
from edgeexit.graph.pruning import exit_flops, keep_exits
from edgeexit.graph.stages import build_stage
from tests.graph.slicing import parsed

LOGITS = "float[batch,3] a, float[batch,3] b, float[batch,3] c"
OUTPUTS = LOGITS + ", float[batch,1] halt_1, float[batch,1] halt_2, float[batch,1] halt_3"
TEXT = """
g (float[batch,4] x) => ({outputs}) {{
  a = MatMul(x, ha)
  u1 = MatMul(x, v)
  halt_1 = Sigmoid(u1)
  t = MatMul(x, w)
  b = MatMul(t, ha)
  u2 = MatMul(t, v)
  halt_2 = Sigmoid(u2)
  s = MatMul(t, w)
  c = MatMul(s, ha)
  u3 = MatMul(s, v)
  halt_3 = Sigmoid(u3)
  {more}
}}"""


def model(outputs: str = OUTPUTS, more: str = "") -> ir.Model:
    random = np.random.default_rng(0)
    shapes = {"ha": (4, 3), "v": (4, 1), "w": (4, 4)}
    weights = {name: random.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    return parsed(TEXT.format(outputs=outputs, more=more), **weights)


def outputs(found: ir.Model) -> list[str]:
    return [str(value.name) for value in found.graph.outputs]


def test_a_gate_that_reads_none_has_none() -> None:
    found = normalize(model())
    assert outputs(found) == ["a", "b", "c"]
    # What only they needed is gone: their heads and sigmoids.
    assert sorted(node.op_type for node in found.graph) == ["MatMul"] * 5


def test_heads_follow_the_exits_before_their_sigmoid() -> None:
    found = normalize(model(), reads="halt")
    assert outputs(found) == ["a", "b", "c", f"{GIVEN}a", f"{GIVEN}b"]
    assert [value.name for value in exit_values(found.graph)] == ["a", "b", "c"]
    assert not [node for node in found.graph if node.op_type == "Sigmoid"]
    assert [value.producer().op_type for value in found.graph.outputs[3:]] == ["MatMul"] * 2


def test_one_less_than_the_exits_is_enough_and_so_is_any_shape_of_one_number() -> None:
    more = """gate_1 = Sigmoid(u1)
  g2 = Sigmoid(u2)
  axis = Constant<value_ints=[1]>()
  gate_2 = Squeeze(g2, axis)"""
    made = model(LOGITS + ", float[batch,1] gate_1, float[batch] gate_2", more)
    found = normalize(made, reads="gate")
    assert outputs(found) == ["a", "b", "c", f"{GIVEN}a", f"{GIVEN}b"]
    assert {node.op_type for node in found.graph} == {"MatMul"}


@pytest.mark.parametrize("names", [["a", "c"], ["b", "c"]])
def test_numbers_count_the_exits_that_the_model_returns(names: list[str]) -> None:
    found = normalize(model(), names, reads="halt")
    assert outputs(found) == [*names, f"{GIVEN}{names[0]}"]
    head = found.graph.outputs[-1].producer()
    assert head is not None
    weights = [str(value.name) for value in head.inputs if value is not None]
    assert weights[0] == ("x" if names[0] == "a" else "t")


def test_each_head_belongs_to_the_stage_of_its_exit() -> None:
    found = normalize(model(), reads="halt")
    plans = partition(found)
    assert [len(plan.owned) for plan in plans] == [2, 3, 2]
    assert [None if p.given is None else p.given.name for p in plans] == [
        f"{GIVEN}a",
        f"{GIVEN}b",
        None,
    ]
    stages = [build_stage(found, plan) for plan in plans]
    # A head is for the gate alone: no stage answers with it.
    assert [[v.name for v in stage.graph.outputs] for stage in stages] == [["a"], ["t", "b"], ["c"]]


def test_a_head_that_an_earlier_stage_computes_is_carried() -> None:
    more = """y = Add(u1, u1)
  a_y = Add(a, y)
  gate_1 = Sigmoid(u1)
  gate_2 = Sigmoid(y)"""
    made = model(LOGITS.replace(" a,", " a_y,") + ", float[batch,1] gate_1, float gate_2", more)
    made.graph.outputs[-1].shape = None
    first, second, _ = partition(normalize(made, reads="gate"))
    assert second.given is not None
    assert second.given.name == f"{GIVEN}b"
    assert second.given in first.carried_out
    assert second.given in second.carried_in


def test_cutting_exits_out_keeps_the_heads_of_those_that_stay() -> None:
    found = normalize(model(), reads="halt")
    keep_exits(found, [2, 3])
    assert outputs(found) == ["b", "c", f"{GIVEN}b"]
    found = normalize(model(), reads="halt")
    keep_exits(found, [1, 2])
    assert outputs(found) == ["a", "b", f"{GIVEN}a"]
    keep_exits(found, [2])
    assert outputs(found) == ["b"]


def test_a_head_counts_to_its_exit() -> None:
    with_heads = exit_flops(normalize(model(), reads="halt"), {"batch": 1})
    without = exit_flops(normalize(model()), {"batch": 1})
    assert with_heads[1,] - without[1,] == 2 * 4
    assert with_heads[2, 3] == without[2, 3]


@pytest.mark.parametrize(
    ("made", "reads", "said"),
    [
        (model, "gate", r"does not return gate_1 \(there: halt_1, halt_2, halt_3\)"),
        (
            lambda: model(OUTPUTS.replace(", float[batch,1] halt_2", "")),
            "halt",
            r"does not return halt_2 \(there: halt_1, halt_3\)",
        ),
    ],
)
def test_a_missing_tensor_is_named(made: Callable[[], ir.Model], reads: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        normalize(made(), reads=reads)
    assert caught.value.code == "model.gate-input"
    assert f"return {reads}_1, {reads}_2" in caught.value.hint


def test_a_raw_head_is_refused() -> None:
    made = model()
    for node in made.graph:
        if node.op_type == "Sigmoid":
            node.op_type = "Tanh"
    with pytest.raises(ModelError, match="'halt_1' does not come out of a Sigmoid") as caught:
        normalize(made, reads="halt")
    assert "torch.sigmoid" in caught.value.hint


def test_one_head_for_two_exits_is_refused() -> None:
    made = model()
    sigmoids = [node for node in made.graph if node.op_type == "Sigmoid"]
    sigmoids[1].replace_input_with(0, sigmoids[0].inputs[0])
    with pytest.raises(ModelError, match="'halt_2' is not computed for this exit alone"):
        normalize(made, reads="halt")


def test_logits_are_no_gate_inputs_whatever_their_name() -> None:
    made = model(LOGITS)
    made.graph.outputs[1].name = "halt_1"
    assert outputs(normalize(made)) == ["a", "halt_1", "c"]

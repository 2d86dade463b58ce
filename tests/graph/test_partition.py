"""Where graphs are cut, what crosses, and that stages answer bit for bit as the whole graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeexit.errors import ModelError
from edgeexit.graph.partition import partition
from tests.graph.slicing import model_of, names, run_stages, run_whole

RANDOM = np.random.default_rng(7)
W4 = RANDOM.standard_normal((4, 4)).astype(np.float32)
HEAD = RANDOM.standard_normal((4, 3)).astype(np.float32)
X = RANDOM.standard_normal((5, 4)).astype(np.float32)

CHAIN = """
g (float[batch,4] x, float[4,4] w, float[4,3] h) => (float[batch,3] a, float[batch,3] b) {
  t1 = MatMul(x, w)
  a = MatMul(t1, h)
  t2 = MatMul(t1, w)
  b = MatMul(t2, h)
}"""


def check_equal(model, inputs, folder: Path):
    whole = run_whole(model, inputs, folder)
    plans, logits = run_stages(model, inputs, folder)
    for name, expected in whole.items():
        np.testing.assert_array_equal(logits[name], expected)
    return plans


def test_one_boundary_tensor(tmp_path: Path) -> None:
    plans = check_equal(model_of(CHAIN, w=W4, h=HEAD), {"x": X}, tmp_path)
    assert [names(p.inputs) for p in plans] == [["x"], []]
    assert names(plans[0].carried_out) == ["t1"]
    assert names(plans[1].carried_in) == ["t1"]
    assert [len(p.owned) for p in plans] == [2, 2]


def test_several_boundary_tensors_and_one_that_skips_a_stage(tmp_path: Path) -> None:
    text = """
    g (float[batch,4] x, float[4,4] w, float[4,3] h)
      => (float[batch,3] a, float[batch,3] b, float[batch,3] c) {
      p = MatMul(x, w)
      q = MatMul(p, w)
      a = MatMul(q, h)
      r = MatMul(q, w)
      b = MatMul(r, h)
      s = MatMul(r, w)
      u = Add(s, p)
      v = MatMul(u, w)
      c = MatMul(v, h)
    }"""
    plans = check_equal(model_of(text, w=W4, h=HEAD), {"x": X}, tmp_path)
    assert names(plans[0].carried_out) == ["p", "q"]
    assert names(plans[1].carried_in) == ["q"]
    assert names(plans[2].carried_in) == ["p", "r"]


def test_logits_that_are_a_boundary_too(tmp_path: Path) -> None:
    text = """
    g (float[batch,4] x, float[4,3] h, float[3,3] k) => (float[batch,3] a, float[batch,3] b) {
      a = MatMul(x, h)
      t = Tanh(a)
      b = MatMul(t, k)
    }"""
    k = RANDOM.standard_normal((3, 3)).astype(np.float32)
    plans = check_equal(model_of(text, h=HEAD, k=k), {"x": X}, tmp_path)
    assert names(plans[0].carried_out) == ["a"]
    assert names(plans[1].carried_in) == ["a"]


def test_an_input_that_first_matters_in_a_late_stage(tmp_path: Path) -> None:
    text = """
    g (float[batch,4] x, float[batch,4] y, float[4,4] w, float[4,3] h)
      => (float[batch,3] a, float[batch,3] b) {
      t = MatMul(x, w)
      a = MatMul(t, h)
      u = Add(t, y)
      v = MatMul(u, w)
      b = MatMul(v, h)
    }"""
    plans = check_equal(model_of(text, w=W4, h=HEAD), {"x": X, "y": X[::-1].copy()}, tmp_path)
    assert [names(p.inputs) for p in plans] == [["x"], ["y"]]


def test_shapes_are_rebuilt_and_hold_after_rows_have_left(tmp_path: Path) -> None:
    """The shape read in stage 1 must not describe stage 2's smaller batch."""
    text = """
    g (float[batch,4] x, float[4,4] w, float[4,3] h, int64[1] zero, int64[1] four)
      => (float[batch,3] a, float[batch,3] b) {
      t = MatMul(x, w)
      s = Shape(x)
      n = Gather(s, zero)
      m = Mul(n, four)
      flat = Reshape(t, m)
      e = Exp(flat)
      whole = Concat <axis=0> (n, four)
      back = Reshape(e, whole)
      a = MatMul(back, h)
      u = MatMul(t, w)
      flat2 = Reshape(u, m)
      e2 = Exp(flat2)
      back2 = Reshape(e2, whole)
      b = MatMul(back2, h)
    }"""
    model = model_of(text, w=W4 / 4, h=HEAD, zero=np.array([0]), four=np.array([4]))
    plans = check_equal(model, {"x": X}, tmp_path)
    assert names(plans[1].carried_in) == ["t"]
    assert plans[1].inputs == []
    whole = run_whole(model, {"x": X}, tmp_path)
    _, logits = run_stages(model, {"x": X}, tmp_path, keep={1: [1, 3]})
    np.testing.assert_allclose(logits["b"], whole["b"][[1, 3]], rtol=1e-6)


def test_a_mask_is_rebuilt_from_the_smaller_tensor(tmp_path: Path) -> None:
    text = """
    g (float[batch,6,4] x, int64[batch,6] mask, float[4,4] w, float[4,3] h, int64[2] axes,
       int64[4] size, float one, float big, int64[1] first)
      => (float[batch,3] a, float[batch,3] b) {
      m1 = Cast <to=1> (mask)
      m2 = Unsqueeze(m1, axes)
      m3 = Sub(m2, one)
      m4 = Mul(m3, big)
      m5 = Expand(m4, size)
      t1 = MatMul(x, w)
      q1 = Unsqueeze(t1, first)
      t1t = Transpose <perm=[0,2,1]> (t1)
      s1 = MatMul(t1, t1t)
      f1 = Unsqueeze(s1, first)
      g1 = Add(f1, m5)
      p1 = ReduceMean <keepdims=0> (g1, first)
      k1 = MatMul(p1, t1)
      a1 = ReduceMean <keepdims=0> (k1, first)
      a = MatMul(a1, h)
      t2 = MatMul(t1, w)
      t2t = Transpose <perm=[0,2,1]> (t2)
      s2 = MatMul(t2, t2t)
      f2 = Unsqueeze(s2, first)
      g2 = Add(f2, m5)
      p2 = ReduceMean <keepdims=0> (g2, first)
      k2 = MatMul(p2, t2)
      b1 = ReduceMean <keepdims=0> (k2, first)
      b = MatMul(b1, h)
    }"""
    model = model_of(
        text,
        w=W4,
        h=HEAD,
        axes=np.array([1, 2]),
        size=np.array([1, 1, 6, 6]),
        one=np.float32(1),
        big=np.float32(9),
        first=np.array([1]),
    )
    x = RANDOM.standard_normal((2, 6, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    plans = check_equal(model, {"x": x, "mask": mask}, tmp_path)
    # The float mask before its expansion, 24 bytes a sample: fewer than the int64 input's 48.
    assert names(plans[1].carried_in) == ["m4", "t1"]
    assert [node.op_type for node in plans[1].rebuilt] == ["Expand"]


def test_the_cut_falls_at_the_quantized_tensor(tmp_path: Path) -> None:
    """A stage begins with int8 and a DequantizeLinear of its own, never behind one."""
    text = """
    g (float[batch,4] x, float[4,4] w, float[4,3] h, float scale, int8 zero)
      => (float[batch,3] a, float[batch,3] b) {
      t = MatMul(x, w)
      q = QuantizeLinear(t, scale, zero)
      d = DequantizeLinear(q, scale, zero)
      a = MatMul(d, h)
      u = MatMul(d, w)
      b = MatMul(u, h)
    }"""
    model = model_of(text, w=W4, h=HEAD, scale=np.float32(0.05), zero=np.int8(0))
    plans = check_equal(model, {"x": X}, tmp_path)
    assert names(plans[1].carried_in) == ["q"]
    assert [node.op_type for node in plans[1].rebuilt] == ["DequantizeLinear"]


def test_a_carried_tensor_is_quantized_again_rather_than_carried_twice(tmp_path: Path) -> None:
    text = """
    g (float[batch,4] x, float[4,4] w, float[4,3] h, float scale, int8 zero)
      => (float[batch,3] a, float[batch,3] b) {
      t = MatMul(x, w)
      q = QuantizeLinear(t, scale, zero)
      d = DequantizeLinear(q, scale, zero)
      a = MatMul(d, h)
      u = MatMul(d, w)
      r = Add(u, t)
      b = MatMul(r, h)
    }"""
    model = model_of(text, w=W4, h=HEAD, scale=np.float32(0.05), zero=np.int8(0))
    plans = check_equal(model, {"x": X}, tmp_path)
    assert names(plans[1].carried_in) == ["t"]


def test_an_exit_that_depends_on_a_later_one() -> None:
    model = model_of(CHAIN.replace("MatMul(t2, h)", "Gemm(t2, h, a)"), w=W4, h=HEAD)
    model.graph.outputs[:] = list(model.graph.outputs)[::-1]
    with pytest.raises(ModelError) as caught:
        partition(model)
    assert caught.value.code == "model.exit-order"
    assert "exit 1 ('b') depends on exit 2 ('a')" in caught.value.message


def test_an_exit_that_repeats_another_is_an_empty_stage() -> None:
    model = model_of(CHAIN, w=W4, h=HEAD)
    first = model.graph.outputs[0]
    model.graph.outputs[:] = [first, first]
    with pytest.raises(ModelError) as caught:
        partition(model)
    assert caught.value.code == "model.empty-stage"
    assert "stage 2 is empty: exit 'a'" in caught.value.message

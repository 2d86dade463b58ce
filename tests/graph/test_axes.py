"""Measured shapes of boundary tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import ModelError
from edgeexit.graph.axes import MeasuredAxes, describe_input, measure_axes
from edgeexit.graph.partition import partition
from edgeexit.samples import random_inputs
from tests.graph.slicing import model_of

RANDOM = np.random.default_rng(11)
W4 = RANDOM.standard_normal((4, 4)).astype(np.float32)
HEAD = RANDOM.standard_normal((4, 3)).astype(np.float32)


def measure(text: str, folder: Path, samples: Any = None, **weights: Any) -> MeasuredAxes:
    model = model_of(text, **weights)
    crossing = [value for plan in partition(model) for value in plan.carried_out]
    return measure_axes(model, [*model.graph.outputs, *crossing], samples, folder)


WINDOWS = """
g (float[batch,8,4] x) => (float[batch,3] a, float[batch,3] b) {
  windows = Reshape(x, cut)
  t = MatMul(windows, w)
  back = Reshape(t, join)
  p = ReduceMean <keepdims=0> (back, axis)
  a = MatMul(p, h)
  u = MatMul(t, w)
  e = Relu(u)
  back2 = Reshape(e, join)
  p2 = ReduceMean <keepdims=0> (back2, axis)
  b = MatMul(p2, h)
}"""
CUTS = {"cut": np.array([-1, 2, 4]), "join": np.array([-1, 8, 4]), "axis": np.array([1])}


def test_windows_give_four_rows_a_sample(tmp_path: Path) -> None:
    axes = measure(WINDOWS, tmp_path, w=W4, h=HEAD, **CUTS)
    assert axes.specs["t"] == TensorSpec("t", "float32", ("4*batch", 2, 4), 0, 4)
    assert axes.compaction.allowed
    assert list(tmp_path.iterdir()) == []


def test_samples_that_mix_forbid_compaction_and_the_tensor_is_named(tmp_path: Path) -> None:
    text = """
    g (float[batch,4] x) => (float[batch,3] a, float[batch,3] b) {
      t = MatMul(x, w)
      mean = ReduceMean <keepdims=1> (t, axis)
      c = Sub(t, mean)
      a = MatMul(c, h)
      u = MatMul(c, w)
      v = CumSum(u, first)
      b = MatMul(v, h)
    }"""
    axes = measure(text, tmp_path, w=W4, h=HEAD, axis=np.array([0]), first=np.array(0))
    assert not axes.compaction.allowed
    assert "'b' mixes the samples" in axes.compaction.reason


def test_batch_behind_the_first_axis(tmp_path: Path) -> None:
    text = """
    g (float[batch,5,4] x) => (float[batch,3] a, float[batch,3] b) {
      s = Transpose <perm=[1,0,2]> (x)
      t = MatMul(s, w)
      p = ReduceMean <keepdims=0> (t, axis)
      a = MatMul(p, h)
      u = MatMul(t, w)
      q = ReduceMean <keepdims=0> (u, axis)
      b = MatMul(q, h)
    }"""
    axes = measure(text, tmp_path, w=W4, h=HEAD, axis=np.array([0]))
    assert axes.specs["t"] == TensorSpec("t", "float32", (5, "batch", 4), 1, 1)
    assert axes.compaction.allowed


TOKENS = """
g (int64[batch,seq] ids) => (float[batch,3] a, float[batch,3] b) {
  e = Gather(table, ids)
  c = Conv <kernel_shape=[3], pads=[0,0], strides=[STRIDE]> (e, k)
  t = Relu(c)
  p = ReduceMean <keepdims=0> (t, axis)
  a = MatMul(p, h)
  u = MatMul(t, w)
  q = ReduceMean <keepdims=0> (u, axis)
  b = MatMul(q, h)
}"""


def tokens(stride: int) -> str:
    """Return a text model whose convolution runs over the sequence axis."""
    swap = "f = Transpose <perm=[0,2,1]> "
    text = TOKENS.replace("STRIDE", str(stride))
    text = text.replace("c = Conv", f"{swap}(e)\n  g1 = Conv").replace("(e, k)", "(f, k)")
    return text.replace("t = Relu(c)", "r = Relu(g1)\n  t = Transpose <perm=[0,2,1]> (r)")


TOKEN_WEIGHTS = {
    "table": RANDOM.standard_normal((2, 4)).astype(np.float32),
    "k": RANDOM.standard_normal((4, 4, 3)).astype(np.float32),
    "axis": np.array([1]),
}


def test_an_axis_that_follows_the_sequence_with_an_offset(tmp_path: Path) -> None:
    axes = measure(tokens(1), tmp_path, w=W4, h=HEAD, **TOKEN_WEIGHTS)
    (crossing,) = [spec for name, spec in axes.specs.items() if name not in ("a", "b")]
    assert crossing.batch_axis == 0
    assert "seq-2" in crossing.shape
    assert axes.sizes == {"batch": 2, "seq": 16}


def test_an_axis_that_is_no_affine_function_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="boundary tensor") as caught:
        measure(tokens(3), tmp_path, w=W4, h=HEAD, **TOKEN_WEIGHTS)
    assert caught.value.code == "model.boundary-shape"
    assert "fixed 'seq'" in caught.value.hint


def test_samples_set_the_sizes(tmp_path: Path) -> None:
    samples = {"ids": np.ones((3, 9), np.int64)}
    axes = measure(tokens(1), tmp_path, samples, w=W4, h=HEAD, **TOKEN_WEIGHTS)
    assert axes.sizes == {"batch": 2, "seq": 9}


def test_a_model_that_does_not_run_says_why(tmp_path: Path) -> None:
    weights = {**TOKEN_WEIGHTS, "table": TOKEN_WEIGHTS["table"][:1]}
    with pytest.raises(ModelError, match="does not run") as caught:
        measure(tokens(1), tmp_path, w=W4, h=HEAD, **weights)
    assert caught.value.code == "model.not-runnable"
    assert list(tmp_path.iterdir()) == []


def test_a_fixed_batch_forbids_compaction(tmp_path: Path) -> None:
    text = WINDOWS.replace("batch", "1")
    axes = measure(text, tmp_path, w=W4, h=HEAD, **CUTS)
    assert not axes.compaction.allowed
    assert "fixed batch of 1" in axes.compaction.reason


def test_inputs_are_described_and_made() -> None:
    model = model_of(WINDOWS, w=W4, h=HEAD, **CUTS)
    spec = describe_input(model.graph.inputs[0])
    assert spec == TensorSpec("x", "float32", ("batch", 8, 4), 0, 1)
    made = random_inputs([spec], 3)["x"]
    assert made.shape == (3, 8, 4)
    assert made.dtype == np.float32
    fixed = TensorSpec("x", "float32", (1, 8, 4), 0, 1)
    assert random_inputs([fixed], 3)["x"].shape == (3, 8, 4)

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edgeexit.errors import ModelError
from edgeexit.graph.half.ranges import magnitude, measure_ranges
from edgeexit.graph.shapes import infer_shapes
from tests.graph.onnx_models import text_model, weight

BODY = """<ir_version: 9, opset_import: ["" : 20]>
g (float[batch,4,8] x, int64[batch,4] ids) => (float[batch,4,1] m, float[batch,4,4] c) {
    [mean] m = ReduceMean(x, axes)
    [length] l = ReduceL2(x, axes)
    [turned] t = Transpose <perm = [0, 2, 1]> (x)
    [cross] p = MatMul(x, t)
    [scaled] c = Mul(p, l)
    [low] n = Log(x)
}"""


def test_values_and_the_sums_inside_nodes(tmp_path: Path):
    model = text_model(BODY, axes=np.array([-1]))
    infer_shapes(model)
    outputs = list(model.graph.outputs)
    x = [weight(2, 4, 8, seed=seed) for seed in (1, 2)]
    ids = np.zeros((2, 4), np.int64)
    ranges = measure_ranges(model, [{"x": each, "ids": ids} for each in x], tmp_path)
    both = np.concatenate(x)
    assert list(model.graph.outputs) == outputs
    assert list(tmp_path.iterdir()) == []
    assert "ids" not in ranges.largest
    assert ranges.largest["x"] == np.abs(both).max()
    assert ranges.largest["m"] == pytest.approx(np.abs(both.mean(-1)).max(), rel=1e-5)
    # Logarithms of negative numbers are NaN: what is finite counts.
    expected = np.abs(np.log(both[both > 0])).max()
    assert ranges.largest["n"] == pytest.approx(expected, rel=1e-5)
    sums = {node.name: found for node, found in ranges.sums.items()}
    assert set(sums) == {"mean", "length", "cross"}
    assert sums["mean"] == pytest.approx((np.abs(both).sum(-1).max(), math.inf), rel=1e-5)
    squares = (both.astype(np.float64) ** 2).sum(-1)
    assert sums["length"] == pytest.approx((squares.max(), squares.min()), rel=1e-5)
    added = (np.abs(both) @ np.abs(both).transpose(0, 2, 1)).max()
    assert sums["cross"] == pytest.approx((added, math.inf), rel=1e-5)


@pytest.mark.parametrize("batch", ["batch", "1"])
def test_random_inputs_where_there_are_no_samples(batch: str):
    text = BODY.replace("float[batch,4,8] x", f"float[{batch},4,8] x")
    text = text.replace("int64[batch,4]", f"int64[{batch},4]")
    model = text_model(text, axes=np.array([-1]))
    infer_shapes(model)
    assert 2 < measure_ranges(model, None).largest["x"] < 6


def test_a_model_that_does_not_run():
    model = text_model(BODY, axes=np.array([-1]))
    infer_shapes(model)
    wrong = {"x": weight(1, 3, 8), "ids": np.zeros((1, 4), np.int64)}
    with pytest.raises(ModelError, match="cannot be measured") as caught:
        measure_ranges(model, [wrong])
    assert caught.value.code == "model.not-runnable"


def test_magnitude_is_of_finite_numbers():
    assert magnitude(np.array([1, -3, np.inf, np.nan], np.float32)) == 3
    assert magnitude(np.array([], np.float32)) == 0
    assert magnitude(np.array([np.nan], np.float32)) == 0

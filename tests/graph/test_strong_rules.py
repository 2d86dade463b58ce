"""Which nodes the strongly typed flavour keeps in float32: each rule on a graph of a few nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeexit.graph.constants import contents
from edgeexit.graph.half.types import write_half_types
from edgeexit.graph.shapes import infer_shapes
from edgeexit.graph.strong import StrongReport, strongly_typed
from tests.graph.onnx_models import text_model, weight
from tests.graph.strong_models import FLOAT_TOLERANCE, Arrays, answers, rms, rounded_answers

LARGE = """<ir_version: 9, opset_import: ["" : 20]>
g (float[batch,8] x) => (float[batch,3] a, float[batch,3] b) {
    [up] h = MatMul(x, w)
    [shift] r = Add(h, one)
    [norm] n = LayerNormalization <axis = -1> (r, scale)
    [head_a] a = MatMul(n, wa)
    [square] k = Mul(r, r)
    [mean] q = ReduceMean <keepdims = 1> (k, axes)
    [ratio] u = Div(k, q)
    [relu] v = Relu(u)
    [head_b] b = MatMul(v, wa)
}"""


def large() -> ir.Model:
    ones = np.ones(8, np.float32)
    model = text_model(
        LARGE, w=weight(8, 8) * 1e4, one=ones, scale=ones, wa=weight(8, 3), axes=np.array([-1])
    )
    infer_shapes(model)
    return model


def test_large_activations_keep_float32(tmp_path: Path):
    inputs = {"x": 10 * weight(50, 8, seed=5)}
    exact = answers(large(), inputs)
    naive = large()
    write_half_types(naive, kept=())
    assert not any(np.isfinite(logits).all() for logits in rounded_answers(naive, inputs))

    model = large()
    report = strongly_typed(model, [{"x": inputs["x"][:20]}], workdir=tmp_path)
    kept = {node.name: node for node in report.kept}
    assert list(kept) == ["up", "shift", "norm", "square", "mean", "ratio"]
    assert {node.rule for node in kept.values()} == {"range"}
    assert kept["up"].reason.startswith("its values reach ")
    assert kept["up"].largest == pytest.approx(np.abs(inputs["x"][:20] @ weight(8, 8)).max() * 1e4)
    for a, b in zip(exact, rounded_answers(model, inputs), strict=True):
        assert rms(a - b) <= FLOAT_TOLERANCE * a.std()


def rewritten(
    body: str, samples: Sequence[Arrays] | None, folder: Path, **weights: np.ndarray
) -> tuple[ir.Model, StrongReport]:
    head = '<ir_version: 9, opset_import: ["" : 20]> g (float[batch,8] x) => '
    model = text_model(head + body, **weights)
    return model, strongly_typed(model, samples, workdir=folder)


def test_an_epsilon_keeps_its_norm(tmp_path: Path):
    body = """(float[batch,3] a, float[batch,8] b) {
        [head] a = MatMul(x, w)
        [mean] m = ReduceMean(x, axes)
        [centre] c = Sub(x, m)
        [square] k = Mul(c, c)
        [variance] v = ReduceMean(k, axes)
        [floor] f = Add(v, eps)
        [root] r = Sqrt(f)
        [divide] y = Div(c, r)
        [after] b = Relu(y)
    }"""
    constants = {"w": weight(8, 3), "axes": np.array([-1]), "eps": np.float32(1e-12)}
    model, report = rewritten(body, [{"x": weight(4, 8)}], tmp_path, **constants)
    kept = {node.name: node.rule for node in report.kept}
    assert kept == dict.fromkeys(
        ("mean", "centre", "square", "variance", "floor", "root", "divide"), "epsilon"
    )
    constant = answers(model, {"x": np.full((1, 8), 3.0, np.float32)})
    assert np.array_equal(constant[1], np.zeros((1, 8)))


def test_small_squares_keep_float32(tmp_path: Path):
    body = """(float[batch,3] a, float[batch,1] b) {
        [head] a = MatMul(x, w)
        [length] b = ReduceL2(x, axes)
    }"""
    constants = {"w": weight(8, 3), "axes": np.array([-1])}
    _, report = rewritten(body, [{"x": 1e-2 * weight(4, 8)}], tmp_path, **constants)
    assert [(node.name, node.rule) for node in report.kept] == [("length", "sum")]
    _, report = rewritten(body, [{"x": weight(4, 8)}], tmp_path, **constants)
    assert report.kept == ()


def test_long_sums_keep_float32(tmp_path: Path):
    body = """(float[batch,3] a, float[batch,1] b) {
        [head] a = MatMul(x, w)
        [mean] b = ReduceMean(x, axes)
    }"""
    constants = {"w": 1e-3 * weight(8, 3), "axes": np.array([-1])}
    x = np.where(np.arange(8) % 2, 9000, -9000).astype(np.float32)[None]
    _, report = rewritten(body, [{"x": x}], tmp_path, **constants)
    assert [(node.name, node.rule, node.largest) for node in report.kept] == [
        ("mean", "sum", 72000.0)
    ]


def test_masks_are_clamped_and_numbers_are_not(tmp_path: Path):
    lowest = np.finfo(np.float32).min
    body = """(float[batch,8] a, float[batch,8] b) {
        [keep] c = Greater(x, zero)
        [mask] m = Where(c, zero, lowest)
        [hide] h = Add(x, m)
        [soft] a = Softmax(h)
        [grow] g = Mul(x, huge)
        [shrink] b = Div(g, huge)
    }"""
    constants = {"zero": np.float32(0), "lowest": lowest, "huge": np.float32(1e6)}
    model, report = rewritten(body, [{"x": weight(4, 8)}], tmp_path, **constants)
    assert report.clamped == ("lowest",)
    assert [(node.name, node.rule) for node in report.kept] == [
        ("grow", "range"),
        ("shrink", "range"),
    ]
    assert contents(next(n for n in model.graph if n.name == "mask"), 2) == np.float16(-8188)
    # The second row is masked throughout: with minus infinity its softmax would be NaN.
    x = np.stack([weight(8), -np.ones(8, np.float32)])
    soft, same = answers(model, {"x": x})
    expected = np.where(x[0] > 0, np.exp(x[0]), 0)
    assert np.allclose(soft[0], expected / expected.sum(), atol=1e-3)
    assert np.allclose(soft[1], 1 / 8, atol=1e-3)
    assert np.allclose(same, x, rtol=1e-3)


def test_values_made_from_attributes_and_sizes(tmp_path: Path):
    body = """(float[batch,8] a, float[batch,8] b, float[batch,8] c) {
        [shape] s = Shape(x)
        [fill] f = ConstantOfShape <value = float[1] {0.5}> (s)
        [add] a = Add(x, f)
        [length] l = Shape <start = 1> (x)
        [size] z = Cast <to = 1> (l)
        [scaled] b = Div(x, z)
        [range] r = Range(zero, eight, one)
        [noise] n = RandomUniformLike <low = 0.999, high = 1.001> (x)
        [sum] c = Sum(x, r, n)
    }"""
    constants = {"zero": np.float32(0), "one": np.float32(1), "eight": np.float32(8)}
    model, report = rewritten(body, None, tmp_path, **constants)
    assert report.measured is False
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    by_name = {node.name: node for node in model.graph}
    assert by_name["fill"].attributes["value"].as_tensor().numpy() == np.array([0.5], np.float16)
    assert {node.name: node.rule for node in report.kept} == {
        "range": "operator",
        "noise": "operator",
    }
    x = weight(3, 8)
    a, b, c = answers(model, {"x": x})
    assert np.allclose(a, x + 0.5, atol=2e-3)
    assert np.allclose(b, x / 8, atol=2e-3)
    assert np.allclose(c, x + np.arange(8) + 1, atol=1e-2)


PAIRS = """(float[batch,3] a, float[batch,3] b) {
    [q] xq = QuantizeLinear(x, sx, zero)
    [dq] xd = DequantizeLinear(xq, sx, zero)
    [dw] wd = DequantizeLinear <axis = 1> (w, sw, zeros)
    [one] a = MatMul(xd, wd)
    [dv] vd = DequantizeLinear <axis = 1> (v, sv, zeros)
    [two] b = MatMul(xd, vd)
}"""


def test_small_scales_stay_exact_and_dead_ones_are_raised(tmp_path: Path):
    random = np.random.default_rng(0)
    w, v = (random.integers(-127, 128, (8, 3)).astype(np.int8) for _ in range(2))
    constants = {
        "sx": np.float32(0.02),
        "zero": np.int8(0),
        "zeros": np.zeros(3, np.int8),
        "w": w,
        "sw": np.array([3e-5, 1e-3, 2e-3], np.float32),
        "v": v,
        "sv": np.array([1e-9, 1e-3, 2e-3], np.float32),
    }
    model, report = rewritten(PAIRS, [{"x": weight(4, 8)}], tmp_path, **constants)
    assert report.raised == ("dv",)
    assert {node.name: node.rule for node in report.kept} == {
        "q": "input",
        "dq.float": "scale",
        "dw": "scale",
        "one": "scale",
    }
    # Both types of the activations' pair have the very same scale.
    scales = [contents(n, 1) for n in model.graph if n.name in ("q", "dq", "dq.float")]
    step = float(np.float16(0.02))
    assert [float(scale) for scale in scales] == [step] * 3
    x = weight(50, 8, seed=9)
    a, b = answers(model, {"x": x})
    real = np.clip(np.rint(x / np.float32(step)), -128, 127) * step
    assert np.allclose(a, real @ (w * constants["sw"]), atol=1e-5)
    assert np.allclose(b, real @ (v * constants["sv"]), rtol=2e-3, atol=2e-3)

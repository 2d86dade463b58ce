from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from edgeexit.graph.lint import lint
from edgeexit.graph.repairs import repair_quantization
from tests.graph.onnx_models import HEADER, text_model, weight


def graph(body: str, output: str = "float[2,4] y", **weights: np.ndarray) -> ir.Model:
    return text_model(f"{HEADER} g (float[2,8] x) => ({output}) {{ {body} }}", **weights)


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    return ReferenceEvaluator(proto).run(None, {"x": x})[0]


def operations(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


PAIR = "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)"


def test_unsigned_activations_become_signed_with_the_scale_times_255_over_127():
    model = graph(PAIR, "float[2,8] y", s=np.float32(0.1), z=np.uint8(0))
    repair_quantization(model)
    quantizer, dequantizer = model.graph
    for node in (quantizer, dequantizer):
        assert node.inputs[1].const_value.numpy() == pytest.approx(0.1 * 255 / 127)
        assert node.inputs[2].const_value.numpy().dtype == np.int8
    assert lint(model) == ()
    x = np.linspace(0, 25.5, 16, dtype=np.float32).reshape(2, 8)
    np.testing.assert_allclose(run(model, x), x, atol=0.1 * 255 / 127 / 2 + 1e-6)


def test_a_shifted_range_is_covered_by_a_symmetric_one():
    model = graph(PAIR, "float[2,8] y", s=np.float32(0.1), z=np.int8(-100))
    repair_quantization(model)
    # int8 with zero point -100 reaches from -2.8 to 22.7.
    assert model.graph[0].inputs[1].const_value.numpy() == pytest.approx(22.7 / 127)
    assert lint(model) == ()


def test_scales_a_channel_of_an_activation_become_the_largest():
    scales = np.linspace(0.1, 0.8, 8, dtype=np.float32)
    model = graph(PAIR, "float[2,8] y", s=scales, z=np.zeros(8, np.int8))
    repair_quantization(model)
    assert model.graph[0].inputs[1].const_value.numpy() == pytest.approx(0.8)
    assert lint(model) == ()


def test_a_quantizer_without_a_zero_point_is_unsigned_by_definition():
    model = graph(
        "q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)", "float[2,8] y", s=np.float32(0.1)
    )
    repair_quantization(model)
    assert lint(model) == ()
    assert len(model.graph[0].inputs) == 3


def test_one_quantizer_read_twice_is_repaired_for_both_readers():
    body = """r = Relu(x) q = QuantizeLinear(r, s, z) d = DequantizeLinear(q, s, z)
        e = DequantizeLinear(q, s, z) y = Add(d, e)"""
    model = graph(body, "float[2,8] y", s=np.float32(0.1), z=np.uint8(0))
    repair_quantization(model)
    assert operations(model) == ["Relu", "QuantizeLinear", "DequantizeLinear", "Add"]
    x = weight(2, 8)
    np.testing.assert_allclose(run(model, x), 2 * np.maximum(x, 0), atol=0.21)


WEIGHTS = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
    k = QuantizeLinear<axis=1>(w, ws, wz) e = DequantizeLinear<axis=1>(k, ws, wz)
    y = MatMul(d, e)"""


@pytest.mark.parametrize("zero", [np.zeros(4, np.int8), np.array([0, 9, -9, 50], np.int8)])
def test_quantizers_of_weights_are_folded_into_int8(zero: np.ndarray):
    w = weight(8, 4)
    low, high = w.min(0), w.max(0)
    scales = (np.maximum(-low / (128.0 + zero), high / (127.0 - zero))).astype(np.float32)
    model = graph(WEIGHTS, s=np.float32(0.03), z=np.int8(0), w=w, ws=scales, wz=zero)
    before = run(model, weight(2, 8, seed=3))
    repair_quantization(model)
    assert operations(model) == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"]
    stored = model.graph[2].inputs[0].const_value.numpy()
    assert (stored.dtype, stored.shape) == (np.int8, (8, 4))
    assert all(value.name != "w" for value in model.graph.initializers.values())
    assert lint(model) == ()
    np.testing.assert_allclose(run(model, weight(2, 8, seed=3)), before, atol=0.15)


def test_a_weight_with_two_quantizers_is_folded_once_for_each():
    body = """k = QuantizeLinear(w, s, z) d = DequantizeLinear(k, s, z)
        l = QuantizeLinear(w, t, z) e = DequantizeLinear(l, t, z)
        a = MatMul(x, d) b = MatMul(x, e) y = Add(a, b)"""
    model = graph(body, s=np.float32(0.03), t=np.float32(0.05), z=np.int8(0), w=weight(8, 4))
    before = run(model, weight(2, 8, seed=3))
    repair_quantization(model)
    assert operations(model).count("QuantizeLinear") == 0
    np.testing.assert_allclose(run(model, weight(2, 8, seed=3)), before, atol=1e-6)


def test_equal_pairs_in_a_row_become_one():
    body = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        r = QuantizeLinear(d, s, z) y = DequantizeLinear(r, s, z)"""
    model = graph(body, "float[2,8] y", s=np.float32(0.1), z=np.int8(0))
    before = run(model, weight(2, 8))
    repair_quantization(model)
    assert operations(model) == ["QuantizeLinear", "DequantizeLinear"]
    np.testing.assert_array_equal(run(model, weight(2, 8)), before)


def test_pairs_with_different_scales_stay():
    body = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        r = QuantizeLinear(d, t, z) y = DequantizeLinear(r, t, z)"""
    model = graph(body, "float[2,8] y", s=np.float32(0.1), t=np.float32(0.2), z=np.int8(0))
    repair_quantization(model)
    assert operations(model) == ["QuantizeLinear", "DequantizeLinear"] * 2


def test_a_pair_before_a_product_that_stays_float_is_bypassed():
    body = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        t = Transpose(x) y = MatMul(d, t)"""
    model = graph(body, "float[2,2] y", s=np.float32(0.1), z=np.int8(0))
    repair_quantization(model)
    assert operations(model) == ["Transpose", "MatMul"]
    np.testing.assert_allclose(run(model, weight(2, 8)), weight(2, 8) @ weight(2, 8).T, rtol=1e-5)


@pytest.mark.parametrize(("operation", "becomes"), [("Mul", "Pow"), ("Add", "Mul")])
def test_a_product_that_meets_itself_is_right_on_openvino(tmp_path, operation, becomes):
    """OpenVINO 2026.4.1 is wrong by the int8 scales without the repair, at these sizes."""
    openvino = pytest.importorskip("openvino")
    text = f"""{HEADER} g (float[b,24,81] l, float[b,81,24] r) => (float[b,24,24] y) {{
        lq = QuantizeLinear(l, s, z)
        ld = DequantizeLinear(lq, s, z)
        rq = QuantizeLinear(r, s, z)
        rd = DequantizeLinear(rq, s, z)
        c = MatMul(ld, rd)
        y = {operation}(c, c)
    }}"""
    model = text_model(text, s=np.float32(0.02), z=np.int8(0))
    inputs = {"l": weight(3, 24, 81), "r": weight(3, 81, 24, seed=1)}
    expected = ReferenceEvaluator(ir.serde.serialize_model(model)).run(None, inputs)[0]
    repair_quantization(model)
    assert operations(model)[-1] == becomes
    path = tmp_path / "square.onnx"
    ir.save(model, path)
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(inputs)[0], expected, rtol=1e-3, atol=1e-2)

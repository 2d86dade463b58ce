"""The strongly typed flavour against the float graph; what TensorRT-RTX makes of it.

ONNX Runtime on a CPU computes float16 nodes in float32, and drops the casts between two of them:
it checks types, and shows less rounding and no overflow. ONNX's reference in NumPy rounds behind
every node and is the stricter judge. Neither tells how a GPU adds. TensorRT-RTX builds for SM86
here and runs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeexit.errors import ModelError
from edgeexit.graph.constants import contents
from edgeexit.graph.half.types import write_half_types
from edgeexit.graph.lint import lint
from edgeexit.graph.partition import partition
from edgeexit.graph.shapes import infer_shapes
from edgeexit.graph.stages import build_stage
from edgeexit.graph.strong import StrongReport, strongly_typed
from tests.graph.onnx_models import text_model, weight
from tests.graph.strong_models import Arrays, Network, answers, network, rounded_answers

NAMES = ("demo", "dmpo", "multi_scale", "two_branches", "windows", "masked_text")
HALF, FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT

FLOAT_TOLERANCE = 0.01
"""Of the logits' spread (root mean square). Rounding to 11 bits moves a value by 2^-12 at most and
2^-13 as a rule; a few hundred of them in a row, independent, add up to some twenty times that:
0.3 %. The untrained DMPO network, whose logits hardly differ, is the worst with 0.28 %; 0.03 % is
usual."""

ROUNDED_TOLERANCE = 0.02
"""The median of samples, where the sums inside a node are rounded too, which no engine does."""

WORST_TOLERANCE = 0.2
"""Of one sample. A covariance subtracts the mean of tokens; where an untrained network gives all
tokens nearly the same features, what is left are the features' rounding errors: 14 % is the worst
seen, in the second-order head of the DMPO network, and 0.2 % in the trained demo."""

INT8_SHARE = 0.25
"""What float16 may add to what int8 itself costs. A value that float16 moves over the middle
between two int8 steps moves a whole step, but few do: a seventh is the worst seen."""


@dataclass
class Case:
    net: Network
    precision: str
    before: ir.Model
    model: ir.Model
    report: StrongReport


@pytest.fixture(scope="module", params=NAMES)
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    return network(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["f32", "int8"])
def case(
    net: Network, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    model = net.model(request.param)
    before = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    report = strongly_typed(model, net.batches(8), workdir=tmp_path_factory.mktemp("strong"))
    return Case(net, request.param, before, model, report)


def rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def test_logits_agree_with_the_float_graph(case: Case):
    inputs = case.net.held_out
    original, ours = answers(case.before, inputs), answers(case.model, inputs)
    floats = original if case.precision == "f32" else answers(case.net.load(), inputs)
    for exact, quantized, half in zip(floats, original, ours, strict=True):
        assert half.dtype == np.float32
        difference = rms(half - quantized)
        if case.precision == "f32":
            assert difference <= FLOAT_TOLERANCE * exact.std()
        else:
            assert difference <= INT8_SHARE * rms(quantized - exact)
        flipped = half.argmax(1) != quantized.argmax(1)
        low, high = np.sort(quantized, axis=1)[:, -2:].T
        assert ((high - low)[flipped] <= 10 * difference).all()
        assert flipped.mean() <= (0.01 if case.precision == "f32" else 0.05)


def test_types_are_consistent(case: Case):
    onnx.checker.check_model(ir.serde.serialize_model(case.model), full_check=True)
    graph = case.model.graph
    assert case.model.graph.opset_imports[""] == case.report.opset == 20
    assert [v.name for v in graph.outputs] == [v.name for v in case.before.graph.outputs]
    assert [(v.name, v.dtype) for v in graph.inputs] == [
        (v.name, v.dtype) for v in case.before.graph.inputs
    ]
    assert {v.dtype for v in graph.outputs} == {FLOAT}
    assert all(value.dtype is not None for node in graph for value in node.outputs)


def test_only_nodes_in_the_report_are_float32(case: Case):
    kept = {node.name for node in case.report.kept}
    names = {node.name for node in case.model.graph}
    assert kept <= names
    for node in case.model.graph:
        if node.op_type != "Cast" and any(value.dtype == FLOAT for value in node.outputs):
            assert node.name in kept
    large = [
        (v.name, v.dtype)
        for v in case.model.graph.initializers.values()
        if v.dtype == FLOAT and v.const_value.size > 256
    ]
    assert large == []
    products = [n for n in case.model.graph if n.op_type in ("Conv", "Gemm", "MatMul")]
    halves = [n for n in products if n.outputs[0].dtype == HALF]
    assert len(halves) >= 0.9 * len(products) > 0
    assert {n.name for n in case.before.graph if n.op_type in ("Conv", "Gemm", "MatMul")} == {
        n.name for n in products
    }


def test_casts_stand_once_and_never_in_a_row(case: Case):
    seen = set()
    for node in case.model.graph:
        if node.op_type != "Cast":
            continue
        source, output = node.inputs[0], node.outputs[0]
        producer = source.producer()
        assert source.dtype != output.dtype
        assert producer is None or producer.op_type not in ("Cast", "DequantizeLinear")
        assert (source, output.dtype) not in seen
        seen.add((source, output.dtype))


def test_scales_are_normal_in_float16(case: Case):
    pairs = [n for n in case.model.graph if n.op_type.endswith("quantizeLinear")]
    pairs += [n for n in case.model.graph if n.op_type == "QuantizeLinear"]
    assert bool(pairs) == (case.precision == "int8")
    kept = {node.name for node in case.report.kept}
    for node in pairs:
        scale = contents(node, 1)
        assert scale.dtype == (np.float32 if node.name in kept else np.float16)
        if node.name not in kept:
            assert scale.min() >= np.finfo(np.float16).smallest_normal
    assert lint(case.model) == ()


def test_stages_cross_in_float16_or_int8(case: Case, tmp_path: Path):
    plans = partition(case.model)
    values: Arrays = dict(case.net.held_out)
    crossing = set()
    for plan in plans:
        for value in plan.carried_in:
            crossing.add(value.dtype)
            assert value.producer().op_type != "DequantizeLinear"
        stage = build_stage(case.model, plan)
        assert lint(stage, plan.number) == ()
        wanted = {v.name: values[v.name] for v in stage.graph.inputs}
        names = [str(v.name) for v in stage.graph.outputs]
        values |= zip(names, answers(stage, wanted), strict=True)
    assert crossing <= {HALF, ir.DataType.INT8}
    whole = answers(case.model, case.net.held_out)
    # Not equal: ONNX Runtime rounds where stages meet, and not at the same place in the whole.
    tolerance = FLOAT_TOLERANCE if case.precision == "f32" else STAGED_TOLERANCE
    for plan, logits in zip(plans, whole, strict=True):
        assert rms(values[plan.exit.name] - logits) <= tolerance * logits.std()


def test_agrees_where_every_step_is_rounded(case: Case):
    if case.precision == "int8":
        pytest.skip("one judge is enough: int8 steps hide what is measured here")
    few = {name: array[:6] for name, array in case.net.held_out.items()}
    rounded = rounded_answers(case.model, few)
    for a, b in zip(answers(case.before, few), rounded, strict=True):
        differences = [rms(one) / a.std() for one in a - b]
        assert 0 < np.median(differences) <= ROUNDED_TOLERANCE
        assert max(differences) <= WORST_TOLERANCE


def test_report_is_json(case: Case):
    told = json.loads(json.dumps(case.report.as_json()))
    assert told["limit"] == 16376
    assert told["measured"] is True
    assert len(told["kept"]) == len(case.report.kept)
    assert 0 < told["largest"][1] < 16376


STAGED_TOLERANCE = 0.05
"""Of the logits' spread in int8, where a rounded value may move a step of the next quantizer."""

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


@pytest.mark.parametrize(("opset", "expected"), [(13, 19), (17, 19), (19, 19), (22, 20)])
def test_opset_is_converted(opset: int, expected: int, tmp_path: Path):
    axes = "<axes = [1], keepdims = 1>" if opset < 18 else "<keepdims = 1>"
    inputs = "h" if opset < 18 else "h, axes"
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[batch,8] x) => (float[batch,300] a, float[batch,1] b) {{
        [first] h = MatMul(x, w)
        [soft] a = Softmax <axis = -1> (h)
        [mean] b = ReduceMean {axes} ({inputs})
    }}"""
    constants = {"w": weight(8, 300)} | ({} if opset < 18 else {"axes": np.array([1])})
    model = text_model(text, **constants)
    exact = answers(model, {"x": weight(5, 8)})
    report = strongly_typed(model, [{"x": weight(5, 8)}], workdir=tmp_path)
    assert (report.opset, model.graph.opset_imports[""], model.ir_version) == (
        expected,
        expected,
        9,
    )
    assert [v.name for v in model.graph.inputs] == ["x"]
    assert [v.name for v in model.graph.outputs] == ["a", "b"]
    assert {"first", "soft", "mean"} <= {node.name for node in model.graph}
    for a, b in zip(exact, answers(model, {"x": weight(5, 8)}), strict=True):
        assert np.allclose(a, b, atol=2e-3)


def test_an_operator_of_a_later_opset_is_refused(tmp_path: Path):
    text = """<ir_version: 10, opset_import: ["" : 23]>
    g (float[batch,8] x) => (float[batch,8] a) { [norm] a = RMSNormalization(x, s) }"""
    model = text_model(text, s=np.ones(8, np.float32))
    with pytest.raises(ModelError, match="opset 23") as caught:
        strongly_typed(model, None, workdir=tmp_path)
    assert caught.value.code == "model.opset"
    assert "opset_version=20" in caught.value.hint


LAYER = re.compile(r"^Name: (\S+), LayerType: (gemm|correlation|runtime_fusion), Inputs: (.*)$")


def rtx_products(model: ir.Model, path: Path) -> list[tuple[str, str]]:
    """Build a stage with TensorRT-RTX for SM86; return kind and input type of its products."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")

    class Lines(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self.lines += message.splitlines()

    ir.save(model, path)
    logger = Lines()
    builder = trt.Builder(logger)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    built = builder.create_network(typed)
    parser = trt.OnnxParser(built, logger)
    errors = [] if parser.parse_from_file(str(path)) else [parser.get_error(0).desc()]
    assert errors == []
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    for number in range(built.num_inputs):
        tensor = built.get_input(number)
        shapes = [tuple(n if d == -1 else d for d in tensor.shape) for n in (1, 4, 8)]
        profile.set_shape(tensor.name, *shapes)
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(built, config) is not None, logger.lines[-3:]
    found = [match for line in logger.lines if (match := LAYER.match(line))]
    assert found
    types = [(m[2], re.search(r"Datatype: (\w+)", m[3])) for m in found]
    return [(kind, datatype[1]) for kind, datatype in types if datatype is not None]


def test_rtx_builds_products_in_int8_or_half(case: Case, tmp_path: Path):
    seen = []
    for plan in partition(case.model):
        stage = build_stage(case.model, plan)
        seen += rtx_products(stage, tmp_path / f"stage-{plan.number}.onnx")
    types = {datatype for _, datatype in seen}
    if case.precision == "f32":
        assert types == {"Half"}
        return
    int8 = [kind for kind, datatype in seen if datatype == "Int8"]
    # What is left are products of two activations: attention and the covariances.
    assert types <= {"Half", "Int8"}
    assert {"gemm"} <= set(int8)
    assert len(int8) > 0.6 * len(seen)

"""The strongly typed flavour against the float graph; what TensorRT-RTX makes of it.

ONNX Runtime on a CPU computes float16 nodes in float32, and drops the casts between two of them:
it checks types, and shows less rounding and no overflow. ONNX's reference in NumPy rounds behind
every node and is the stricter judge. Neither tells how a GPU adds. TensorRT-RTX builds for SM86
here and runs nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeexit.graph.constants import contents
from edgeexit.graph.lint import lint
from edgeexit.graph.partition import partition
from edgeexit.graph.stages import build_stage
from edgeexit.graph.strong import StrongReport, strongly_typed
from tests.graph.rtx_products import rtx_products
from tests.graph.strong_models import (
    FLOAT_TOLERANCE,
    Arrays,
    Network,
    answers,
    network,
    rms,
    rounded_answers,
)

NAMES = ("demo", "dmpo", "multi_scale", "two_branches", "windows", "masked_text")
HALF, FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT

ROUNDED_TOLERANCE = 0.02
"""The median of samples, where the sums inside a node are rounded too, which no engine does."""

WORST_TOLERANCE = 0.2
"""Of one sample. A covariance subtracts the mean of tokens; where an untrained network gives all
tokens nearly the same features, what is left are the features' rounding errors: 14 % is the worst
seen, in the second-order head of the DMPO network, and 0.2 % in the trained demo."""

INT8_SHARE = 0.25
"""What float16 may add to what int8 itself costs. A value that float16 moves over the middle
between two int8 steps moves a whole step, but few do: a seventh is the worst seen."""

STAGED_TOLERANCE = 0.05
"""Of the logits' spread in int8, where a rounded value may move a step of the next quantizer."""


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

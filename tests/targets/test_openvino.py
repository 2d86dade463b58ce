"""What is particular to OpenVINO: the pinned compute type, boundary types, silent reallocation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import TargetError
from edgeexit.targets.base import EngineOptions
from edgeexit.targets.openvino.target import compute_type
from edgeexit.targets.processor import Processor, read_processor
from edgeexit.targets.registry import get_target
from tests.conformance.graphs import CARRIED, save_stages

pytest.importorskip("openvino")

from edgeexit.targets.openvino.engine import _properties

OLD = Processor("Old One", ("avx2", "avx512f"))
NEW = Processor("New One", ("avx2", "avx512f", "avx512_bf16"))
needs_bf16 = pytest.mark.skipif(not read_processor().computes_bf16, reason="no bf16 here")


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return save_stages(tmp_path_factory.mktemp("graphs"))[1]


def open_stage(graph, **kwargs):
    options = EngineOptions(threads=1, **kwargs)
    return get_target("openvino").open(graph.file, graph.inputs, graph.outputs, options)


@pytest.mark.parametrize(
    ("precision", "int8_compute", "processor", "expected"),
    [
        ("f32", "auto", NEW, "f32"),
        ("f32", "bf16", NEW, "f32"),
        ("bf16", "auto", NEW, "bf16"),
        ("int8", "auto", NEW, "bf16"),
        ("int8", "auto", OLD, "f32"),
        ("int8", "f32", NEW, "f32"),
        ("int8", "bf16", NEW, "bf16"),
    ],
)
def test_compute_type(precision, int8_compute, processor, expected):
    options = EngineOptions(precision, int8_compute=int8_compute)
    assert compute_type(options, processor) == expected


@pytest.mark.parametrize(
    ("precision", "int8_compute", "words"),
    [
        ("bf16", "auto", "Old One does not compute in bf16"),
        ("int8", "bf16", "Old One does not compute in bf16"),
        ("int8", "half", "int8_compute cannot be 'half'"),
    ],
)
def test_a_compute_type_that_the_processor_lacks(precision, int8_compute, words):
    with pytest.raises(TargetError, match=words) as caught:
        compute_type(EngineOptions(precision, int8_compute=int8_compute), OLD)
    assert caught.value.code == "target.precision"


@needs_bf16
def test_the_compute_type_is_pinned_and_boundaries_follow_it(stages):
    f32 = open_stage(stages[0], native=CARRIED, dims={"batch": 1})
    assert {spec.dtype for spec in f32.outputs} == {"float32"}
    products = [precision for name, precision in f32.operations() if name == "FullyConnected"]
    assert products
    assert set(products) == {"f32"}
    bf16 = open_stage(stages[0], precision="bf16", native=CARRIED | {"x"}, dims={"batch": 1})
    assert {s.name for s in bf16.outputs if s.dtype == "bfloat16"} == {"h1", "w1"}
    assert {s.name for s in bf16.inputs if s.dtype == "bfloat16"} == {"x"}
    products = [precision for name, precision in bf16.operations() if name == "FullyConnected"]
    assert products
    assert set(products) == {"bf16"}
    auto = open_stage(stages[0], precision="int8", native=CARRIED)
    assert auto.runner({"batch": 1}).buffer("h1").dtype == "bfloat16"


@needs_bf16
def test_only_float32_becomes_native(stages):
    engine = open_stage(stages[1], precision="bf16", native=frozenset({"ids", "h1", "no such"}))
    assert {spec.name: spec.dtype for spec in engine.inputs} == {"h1": "bfloat16", "ids": "int64"}


def test_outputs_that_their_spec_does_not_fit_are_noticed_at_the_first_run(stages):
    outputs = [replace(s, shape=("batch", 9)) for s in stages[0].outputs if s.name == "logits1"]
    target = get_target("openvino")
    graph = stages[0]
    engine = target.open(graph.file, graph.inputs, outputs, EngineOptions(threads=1))
    with pytest.raises(TargetError) as caught:
        engine.runner({"batch": 2}).run()
    assert caught.value.code in ("target.tensors", "target.engine")
    fixed = EngineOptions(threads=1, dims={"batch": 2})
    with pytest.raises(TargetError, match="refused the sizes") as caught:
        target.open(graph.file, graph.inputs, outputs, fixed).runner({})
    assert caught.value.code == "target.engine"


def test_a_dynamic_dimension_that_its_spec_does_not_fit_is_noticed(stages):
    graph = stages[0]
    outputs = [replace(s, shape=("2*batch", *s.shape[1:])) for s in graph.outputs]
    engine = get_target("openvino").open(
        graph.file, graph.inputs, outputs, EngineOptions(threads=1)
    )
    with pytest.raises(TargetError, match=r"output 'h1' has shape \(2, 8, 32\), .* \(4, 8, 32\)"):
        engine.runner({"batch": 2}).run()


@pytest.mark.parametrize("settings", [{"fusion": False}, {"cpu_pinning": False}])
def test_settings_keep_the_answer(stages, settings):
    answers = []
    for chosen in ({}, settings):
        runner = open_stage(stages[0], settings=chosen).runner({"batch": 1})
        runner.buffer("x").write(np.linspace(-1, 1, 256, dtype=np.float32).reshape(1, 8, 32))
        runner.run()
        answers.append(runner.buffer("logits1").host())
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)


@pytest.mark.parametrize(
    ("threads", "cores", "settings", "pinned"),
    [
        (1, 4, {}, False),
        (3, 4, {}, False),
        (1, 4, {"cpu_pinning": True}, True),
        (1, 1, {"cpu_pinning": False}, False),
    ],
)
def test_calls_side_by_side_are_not_pinned_to_the_same_cores(
    stages, monkeypatch, threads, cores, settings, pinned
):
    monkeypatch.setattr("edgeexit.targets.openvino.engine.available_threads", lambda: cores)
    options = EngineOptions(threads=threads, settings=settings)
    graph = stages[0]
    engine = get_target("openvino").open(graph.file, graph.inputs, graph.outputs, options)
    assert engine._compiled.get_property("ENABLE_CPU_PINNING") is pinned


def test_all_cores_are_left_to_the_engines_choice(monkeypatch):
    monkeypatch.setattr("edgeexit.targets.openvino.engine.available_threads", lambda: 4)
    for threads in (0, 4):
        assert "ENABLE_CPU_PINNING" not in _properties(EngineOptions(threads=threads), "f32")


def test_fusion_is_switched_off_by_its_setting(stages):
    names = [
        [name for name, _ in open_stage(stages[0], dims={"batch": 1}, settings=s).operations()]
        for s in ({}, {"fusion": False})
    ]
    assert "Subgraph" in names[0]
    assert "Subgraph" not in names[1]


def quantized(folder):
    """Write a matrix product of a quantized input and int8 weights, with a scale a column."""
    random = np.random.default_rng(0)
    initializers = [
        numpy_helper.from_array(array, name)
        for name, array in {
            "scale": np.float32(0.05),
            "zero": np.int8(0),
            "weights": random.integers(-127, 128, (64, 32), np.int8),
            "scales": random.uniform(0.01, 0.02, 32).astype(np.float32),
            "zeros": np.zeros(32, np.int8),
        }.items()
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["w"], axis=1),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    edge = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])]
        for name, width in (("x", 64), ("y", 32))
    ]
    graph = helper.make_graph(nodes, "quantized", *edge, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    file = folder / "quantized.onnx"
    file.write_bytes(model.SerializeToString())
    return file


@pytest.mark.parametrize("compute", ["f32", "auto"])
def test_a_quantized_product_runs_in_int8(tmp_path, compute):
    if "avx512_vnni" not in read_processor().features:
        pytest.skip("no int8 products on this processor")
    specs = [TensorSpec("x", "float32", ("batch", 64))], [TensorSpec("y", "float32", ("batch", 32))]
    options = EngineOptions("int8", threads=1, dims={"batch": 4}, int8_compute=compute)
    engine = get_target("openvino").open(quantized(tmp_path), *specs, options)
    found = dict(engine.operations())
    assert found["FullyConnected"] in ("i8", "u8")

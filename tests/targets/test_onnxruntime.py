"""What is particular to ONNX Runtime: options, named dimensions, failures in the middle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.errors import TargetError
from edgeexit.targets.base import EngineOptions
from edgeexit.targets.buffer import HostBuffer
from edgeexit.targets.registry import get_target
from tests.conformance.graphs import save_stages

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return save_stages(tmp_path_factory.mktemp("graphs"))[1]


def open_stage(graph, **kwargs):
    options = EngineOptions(threads=1, **kwargs)
    return get_target("onnxruntime").open(graph.file, graph.inputs, graph.outputs, options)


def test_fixed_dimensions_reach_the_graph_composite_ones_too(stages):
    shapes = {
        found.name: found.shape
        for found in open_stage(stages[2], dims={"batch": 3})._session.get_inputs()
    }
    assert shapes == {"h1": [3, 8, 32], "w1": [6, 4, 32], "h2": [8, 3, 32], "state": [3]}
    free = {found.name: found.shape for found in open_stage(stages[2])._session.get_inputs()}
    assert free["w1"] == ["2*batch", 4, 32]


def test_options_reach_the_engine(stages):
    from edgeexit.targets.onnxruntime.engine import session_options

    plain = session_options(stages[0].inputs, EngineOptions(threads=3))
    assert (plain.intra_op_num_threads, plain.inter_op_num_threads) == (3, 1)
    assert plain.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert plain.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings = {"spinning": True, "graph_optimization": "basic"}
    told = session_options(stages[0].inputs, EngineOptions(settings=settings))
    assert told.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert told.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC


def test_all_sessions_share_one_arena(stages):
    from edgeexit.targets.onnxruntime.engine import session_options

    native = session_options(stages[0].inputs, EngineOptions())
    assert native.get_session_config_entry("session.use_env_allocators") == "1"
    answers = []
    for _ in range(3):
        engines = [open_stage(stages[0], dims={"batch": 2}) for _ in range(2)]
        for engine in engines:
            runner = engine.runner({"batch": 2})
            runner.buffer("x").write(np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 8, 32))
            runner.run()
            answers.append(runner.buffer("logits1").host().tobytes())
        engines[0].close()
    assert len(set(answers)) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"spinning": 1}, "'spinning' of target 'onnxruntime' cannot be 1: a bool is right"),
        ({"graph_optimization": "most"}, "cannot be 'most': disable, basic, extended, all"),
        ({"cpu_pinning": True}, "no setting 'cpu_pinning': it has graph_optimization, spinning"),
    ],
)
def test_wrong_settings(stages, settings, words):
    with pytest.raises(TargetError, match=words) as caught:
        open_stage(stages[0], settings=settings)
    assert caught.value.code == "target.setting"


def test_it_does_not_compute_in_bf16(stages):
    with pytest.raises(TargetError, match="cannot compute in bf16") as caught:
        open_stage(stages[0], precision="int8", int8_compute="bf16")
    assert caught.value.code == "target.precision"
    runner = open_stage(stages[0], precision="int8", native=frozenset({"h1"})).runner({"batch": 1})
    assert runner.buffer("h1").dtype == "float32"


def test_an_output_of_another_shape_than_its_spec_fails_when_it_runs(stages):
    outputs = [replace(s, shape=("batch", 9)) for s in stages[0].outputs if s.name == "logits1"]
    options = EngineOptions(threads=1)
    target = get_target("onnxruntime")
    engine = target.open(stages[0].file, stages[0].inputs, outputs, options)
    with pytest.raises(TargetError, match=r"failed while running a stage.*logits1") as caught:
        engine.runner({"batch": 1}).run()
    assert caught.value.code == "target.engine"


def test_a_buffer_it_cannot_bind_in_place(stages):
    from edgeexit.targets.onnxruntime.buffers import bind_input

    binding = open_stage(stages[0])._session.io_binding()
    with pytest.raises(TargetError, match="cannot bind a HostBuffer of bfloat16") as caught:
        bind_input(binding, "x", HostBuffer("bfloat16", (1, 8, 32)))
    assert caught.value.code == "target.buffer"


def test_it_tells_no_operations(stages):
    assert open_stage(stages[0]).operations() == ()

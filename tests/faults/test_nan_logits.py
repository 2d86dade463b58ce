"""A compiled model whose heads answer NaN for some inputs: these never leave there; flagged."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.compiler import compile_model
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime

WIDTH, CLASSES, EXITS = 8, 4, 3
SHIFT = 6.0
"""Input k below -SHIFT makes one logit of exit k + 1 the logarithm of a negative number."""


def _write_model(path):
    rng = np.random.default_rng(0)
    weights = {"shift": np.array([SHIFT], np.float32), "axis": np.array([1], np.int64)}
    nodes, outputs, value = [], [], "x"

    def add(operator, reads, output):
        nodes.append(helper.make_node(operator, reads, [output], f"node_{output}"))
        return output

    for k in range(EXITS):
        for name, shape in ((f"w{k}", (WIDTH, WIDTH)), (f"h{k}", (WIDTH, CLASSES - 1))):
            weights[name] = rng.normal(size=shape).astype(np.float32)
        weights[f"column{k}"] = np.array([k], np.int64)
        weights[f"next{k}"] = np.array([k + 1], np.int64)
        value = add("Tanh", [add("MatMul", [value, f"w{k}"], f"m{k}")], f"r{k}")
        column = add("Slice", ["x", f"column{k}", f"next{k}", "axis"], f"s{k}")
        log = add("Log", [add("Add", [column, "shift"], f"a{k}")], f"l{k}")
        head = add("MatMul", [value, f"h{k}"], f"t{k}")
        nodes.append(helper.make_node("Concat", [head, log], [f"exit_{k + 1}"], f"c{k}", axis=1))
        shape = ["batch", CLASSES]
        outputs.append(helper.make_tensor_value_info(f"exit_{k + 1}", TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])
    arrays = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "logarithms", [image], outputs, arrays)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def _inputs(rows, seed=1):
    x = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    return np.clip(x, -3, 3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nan")
    model = _write_model(folder / "model.onnx")
    data = {"x": _inputs(600)}
    bundle = compile_model(model, folder / "model.eex", precision="f32", data=data)
    costs = bundle.manifest.flops_costs
    calibrate_exits(bundle, data, (costs[0] + costs[-1]) / 2)
    return bundle


def _spoilt(rows):
    """Return rows of which each has NaN at its own set of exits; and the sets."""
    sets = list(itertools.product([False, True], repeat=EXITS))
    nan = np.array([sets[row % len(sets)] for row in range(rows)])
    x = _inputs(rows, seed=2)
    x[:, :EXITS][nan] = -2 * SHIFT
    return x, nan


@pytest.mark.parametrize("device", ["cpu", "x86"])
@pytest.mark.parametrize("limits", ["calibrated", "all leave"])
def test_nan_logits_never_leave_early_and_are_flagged(bundle, device, limits):
    x, nan = _spoilt(64)
    with Runtime(bundle, target=device, threads=1) as runtime:
        every = runtime.all_exits(x)
        for k in range(EXITS):
            np.testing.assert_array_equal(np.isnan(every.logits[k]).any(axis=1), nan[:, k])
        for k in range(EXITS - 1):
            assert np.isnan(every.scores[k][nan[:, k]]).all()
        if limits == "all leave":
            dial = runtime._dial
            runtime._dial = type(dial)(None, dial.params, (-np.inf,) * (EXITS - 1))
        batch = runtime(x)
        singles = [runtime(row) for row in x]
        streamed = list(runtime.stream([row[None] for row in x], batch=8))
    for results in ([batch], singles, streamed):
        exits = np.concatenate([result.exits for result in results])
        valid = np.concatenate([result.valid for result in results])
        taken = nan[np.arange(len(x)), exits - 1]
        assert not taken[exits < EXITS].any(), "a sample left where its logits are NaN"
        np.testing.assert_array_equal(valid, ~taken)
        assert (exits[nan.all(axis=1)] == EXITS).all()
        assert not valid[nan.all(axis=1)].any()
        if limits == "all leave":
            assert (exits[~nan[:, 0]] == 1).all()


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_the_cheapest_setting_of_a_governor_keeps_them_too(bundle, device):
    """Far over its budget, it lets all go at exit 1, but not those that have no answer there."""
    x, nan = _spoilt(64)
    governor = Governor(bundle.manifest.flops_costs[0], audit=0.0)
    with Runtime(bundle, target=device, threads=1, governor=governor) as runtime:
        for _ in range(30):
            result = runtime(x)
        assert governor.state.saturated == "cheapest"
        np.testing.assert_array_equal(result.exits == 1, ~nan[:, 0])
        for row, one in enumerate(x):
            assert (runtime(one).exits[0] == 1) == (not nan[row, 0])


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_a_deadline_answers_in_time_and_flags_them(bundle, device):
    """The one thing that is stronger: what would be late leaves at the exit it has reached."""
    x, nan = _spoilt(64)
    governor = Governor(deadline_ms=1e-6, audit=0.0)
    with Runtime(bundle, target=device, threads=1, governor=governor) as runtime:
        result = runtime(x)
    assert (result.exits == 1).all()
    np.testing.assert_array_equal(result.valid, ~nan[:, 0])

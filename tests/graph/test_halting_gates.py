"""The gates on a model's own probabilities, against numpy, on both engines and in every flavour."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import ModelError
from edgeexit.graph.gate_inputs import GIVEN, exit_values
from edgeexit.graph.gates import attach_gates, get_gate
from edgeexit.graph.normalize import normalize
from edgeexit.graph.partition import partition
from edgeexit.graph.quantize import quantize_int8
from edgeexit.graph.stages import build_stage, build_whole
from edgeexit.graph.strong import strongly_typed
from tests.graph.onnx_models import HEADER, text_model, weight

CLASSES, WIDTH = 7, 8
GATES = {"q-exit": "halt", "jei-dnn": "gate"}
Arrays = dict[str, npt.NDArray[Any]]


def reference(gate: str, heads: list[npt.NDArray[Any]]) -> list[npt.NDArray[np.float64]]:
    """Return the scores of all gates, from the formulas of the papers with sixty digits."""
    with localcontext() as context:
        context.prec = 60
        rows = [[Decimal(float(x)) for x in row] for row in np.stack([h.ravel() for h in heads], 1)]
        shares = [[1 / (1 + (-x).exp()) for x in row] for row in rows]
        found = [_halted(row) if gate == "q-exit" else _exit_probability(row) for row in shares]
    return list(np.array(found, dtype=np.float64).T)


def _halted(shares: list[Decimal]) -> list[Decimal]:
    p = [share * prod(1 - s for s in shares[:k]) for k, share in enumerate(shares)]
    return [sum(p[: k + 1], Decimal(0)) for k in range(len(p))]


def _exit_probability(shares: list[Decimal]) -> list[Decimal]:
    zero = Decimal(0)
    leave = [max(zero, min(g, 1 - sum(shares[:k], zero))) for k, g in enumerate(shares)]
    return [p / prod((1 - q for q in leave[:k]), start=Decimal(1)) for k, p in enumerate(leave)]


def model(family: str, exits: int = 4, scale: float = 1.0) -> ir.Model:
    """Return a normalized perceptron with a halting head an exit but the last."""
    lines, outputs, weights = [], [], {}
    for k in range(1, exits + 1):
        before = "x" if k == 1 else f"t{k - 1}"
        lines += [f"m{k} = MatMul({before}, w{k})", f"t{k} = Tanh(m{k})"]
        lines.append(f"exit_{k} = MatMul(t{k}, h{k})")
        weights |= {f"w{k}": weight(WIDTH, WIDTH, seed=k), f"h{k}": weight(WIDTH, CLASSES, seed=9)}
        outputs.append(f"float[batch,{CLASSES}] exit_{k}")
    for k in range(1, exits):
        lines += [f"u{k} = MatMul(t{k}, v{k})", f"{family}_{k} = Sigmoid(u{k})"]
        weights[f"v{k}"] = weight(WIDTH, 1, seed=30 + k) * np.float32(scale)
        outputs.append(f"float[batch,1] {family}_{k}")
    body = "\n".join(lines)
    text = f"{HEADER} g (float[batch,{WIDTH}] x) => ({', '.join(outputs)}) {{\n{body}\n}}"
    made = text_model(text, **weights)
    made.graph.inputs[:] = [value for value in made.graph.inputs if value.name not in weights]
    return normalize(made, reads=family)


def stages_of(made: ir.Model, gate: str, folder: Path) -> list[Path]:
    """Write the stages with their gates; each also answers with what its gate is given."""
    plans = partition(made)
    stages = [build_stage(made, plan) for plan in plans]
    logits = [TensorSpec(p.exit.name or "", "float32", ("batch", CLASSES)) for p in plans]
    attach_gates(stages, logits, get_gate(gate))
    paths = []
    for plan, stage in zip(plans, stages, strict=True):
        values = {v.name: v for node in stage.graph for v in node.outputs}
        if plan.given is not None:
            head = values[plan.given.name]
            head.shape, head.type = plan.given.shape, plan.given.type
            stage.graph.outputs.append(head)
        paths.append(folder / f"{plan.number}.onnx")
        ir.save(stage, paths[-1])
    return paths


def on_onnxruntime(path: Path, values: Arrays) -> Arrays:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    feed = {value.name: values[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, feed), strict=True))


def on_openvino(path: Path, values: Arrays, hint: str = "f32") -> Arrays:
    openvino = pytest.importorskip("openvino")
    settings = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    result = compiled({port.any_name: values[port.any_name] for port in compiled.inputs})
    # An Identity that the engine drops leaves one output with two names.
    return {name: np.array(result[port]) for port in compiled.outputs for name in port.names}


def run(paths: list[Path], x: npt.NDArray[Any], engine: Any, **settings: Any) -> list[Arrays]:
    values: Arrays = {"x": x, "edgeexit.gate_params": np.array([1, 1], np.float32)}
    found = []
    for path in paths:
        found.append(engine(path, values, **settings))
        values |= found[-1]
    return found


def scores_and_heads(found: list[Arrays]) -> tuple[list[Any], list[Any]]:
    """Return what the gates answered and what they were given, all but the last stage's."""
    heads = [next(a for n, a in out.items() if n.startswith(GIVEN)) for out in found[:-1]]
    return [out["edgeexit.score"] for out in found[:-1]], heads


def inputs(count: int = 64, seed: int = 2) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("engine", [on_onnxruntime, on_openvino])
def test_scores_match_the_papers(tmp_path: Path, engine: Any, gate: str, scale: float) -> None:
    paths = stages_of(model(GATES[gate], scale=scale), gate, tmp_path)
    found = run(paths, inputs(), engine)
    scores, heads = scores_and_heads(found)
    assert len(scores) == 3
    open_ = np.full(len(scores[0]), True)  # no exit before was certain
    for score, wanted in zip(scores, reference(gate, heads), strict=True):
        assert score.dtype == np.float32
        np.testing.assert_allclose(score[open_], wanted[open_], rtol=2e-5, atol=1e-6)
        open_ &= wanted < 1 - 1e-6
        assert (score >= 0).all()
        assert (score <= 1 + 1e-6).all()
    for out in found[:-1]:
        np.testing.assert_array_equal(out["edgeexit.features"][:, 0], out["edgeexit.score"])
    if gate == "q-exit":
        assert all((later >= earlier).all() for earlier, later in pairwise(scores))
    elif scale == 20.0:
        # Gates that are sure leave nothing to those after them.
        assert (scores[2] == 0).any()


@pytest.mark.parametrize("gate", GATES)
def test_small_probabilities_keep_their_digits(tmp_path: Path, gate: str) -> None:
    """A sum of lambdas of 1e-7 has digits; one less a product of floats near 1 has none."""
    made = model(GATES[gate], scale=0.0)
    for value in made.graph.outputs[4:]:
        bias = made.graph.initializers
        name = f"low.{value.name}"
        low = ir.Value(name=name, const_value=ir.tensor(np.float32([-15.5]), name=name))
        bias[name] = low
        head = value.producer()
        assert head is not None
        add = ir.node("Add", [value, low], name=f"add.{name}")
        add.outputs[0].type, add.outputs[0].shape = value.type, value.shape
        add.outputs[0].name, value.name = value.name, f"raw.{name}"
        made.graph.insert_after(head, add)
        made.graph.outputs[made.graph.outputs.index(value)] = add.outputs[0]
    found = run(stages_of(made, gate, tmp_path), inputs(4), on_onnxruntime)
    scores, heads = scores_and_heads(found)
    for score, wanted in zip(scores, reference(gate, heads), strict=True):
        assert 1e-7 < wanted.min() < 1e-6
        np.testing.assert_allclose(score, wanted, rtol=1e-5)


@pytest.mark.parametrize("gate", GATES)
def test_a_row_with_nan_never_leaves_and_disturbs_no_other(tmp_path: Path, gate: str) -> None:
    paths = stages_of(model(GATES[gate]), gate, tmp_path)
    clean, spoilt = inputs(4), inputs(4)
    spoilt[2, 3] = np.nan
    for engine in (on_onnxruntime, on_openvino):
        good, bad = (scores_and_heads(run(paths, x, engine))[0] for x in (clean, spoilt))
        for whole, broken in zip(good, bad, strict=True):
            assert not broken[2] >= -1e30
            np.testing.assert_allclose(broken[[0, 1, 3]], whole[[0, 1, 3]], rtol=1e-6)


@pytest.mark.parametrize("gate", GATES)
def test_logits_of_nan_with_a_sound_head_never_leave(tmp_path: Path, gate: str) -> None:
    made = model(GATES[gate])
    weights = made.graph.initializers["h2"]
    spoilt = weight(WIDTH, CLASSES, seed=9)
    spoilt[0, 0] = np.nan
    weights.const_value = ir.tensor(spoilt, name="h2")
    paths = stages_of(made, gate, tmp_path)
    for engine in (on_onnxruntime, on_openvino):
        scores, heads = scores_and_heads(run(paths, inputs(8), engine))
        assert np.isfinite(heads[1]).all()
        assert np.isfinite(scores[0]).all()
        assert not (scores[1] >= -1e30).any()


@pytest.mark.parametrize("gate", GATES)
def test_masked_classes_do_not_keep_a_sample_back(tmp_path: Path, gate: str) -> None:
    made = model(GATES[gate])
    plain = stages_of(made, gate, tmp_path)
    mask = ir.Value(
        name="mask", const_value=ir.tensor(np.float32([0] * 6 + [-np.inf]), name="mask")
    )
    made.graph.initializers["mask"] = mask
    for value in exit_values(made.graph):
        node = value.producer()
        assert node is not None
        add = ir.node("Add", [value, mask], name=f"mask.{value.name}")
        add.outputs[0].type, add.outputs[0].shape = value.type, value.shape
        made.graph.insert_after(node, add)
        made.graph.outputs[made.graph.outputs.index(value)] = add.outputs[0]
        add.outputs[0].name, value.name = value.name, f"open.{value.name}"
    (tmp_path / "masked").mkdir()
    masked = stages_of(made, gate, tmp_path / "masked")
    for engine in (on_onnxruntime, on_openvino):
        before, after = (scores_and_heads(run(p, inputs(8), engine))[0] for p in (plain, masked))
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("gate", GATES)
def test_openvino_adds_up_in_float32_in_bf16_mode(tmp_path: Path, gate: str) -> None:
    """The head is the model's and may be bf16; what the gate makes of it must not be."""
    paths = stages_of(model(GATES[gate]), gate, tmp_path)
    scores, heads = scores_and_heads(run(paths, inputs(), on_openvino, hint="bf16"))
    for score, wanted in zip(scores, reference(gate, heads), strict=True):
        np.testing.assert_allclose(score, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("flavour", ["int8", "fp16", "int8 and fp16"])
def test_lower_precisions_keep_the_gate_in_float32(tmp_path: Path, gate: str, flavour: str) -> None:
    made = model(GATES[gate])
    before = [value.name for value in made.graph.outputs]
    plain = run(stages_of(made, gate, tmp_path), inputs(), on_onnxruntime)
    if "int8" in flavour:
        pytest.importorskip("nncf")
        made = quantize_int8(made, [{"x": row[None]} for row in inputs(100, seed=5)])
    if "fp16" in flavour:
        strongly_typed(made, [{"x": inputs(64, seed=5)}], workdir=tmp_path)
    assert [value.name for value in made.graph.outputs] == before
    paths = stages_of(made, gate, tmp_path)
    found = run(paths, inputs(), on_onnxruntime)
    scores, heads = scores_and_heads(found)
    assert all(head.dtype == np.float32 for head in heads)
    for score, wanted in zip(scores, reference(gate, heads), strict=True):
        np.testing.assert_allclose(score, wanted, rtol=2e-5, atol=2e-6)
    # And the model still says about what it said in float32.
    allowed = 0.15 if "int8" in flavour else 0.01
    for one, other in zip(scores, scores_and_heads(plain)[0], strict=True):
        assert np.abs(one - other).mean() < allowed
    half = [
        node.name
        for path in paths
        for node in ir.load(path).graph
        if node.name and node.name.startswith("edgeexit.gate.")
        for value in node.outputs
        if value.dtype == ir.DataType.FLOAT16
    ]
    assert half == []


@pytest.mark.parametrize("gate", GATES)
def test_the_whole_model_answers_with_its_exits_alone(gate: str) -> None:
    made = model(GATES[gate])
    whole = build_whole(made, exit_values(made.graph), "whole")
    assert [value.name for value in whole.graph.outputs] == [f"exit_{k}" for k in range(1, 5)]
    assert len(list(whole.graph)) == 12


@pytest.mark.parametrize("gate", GATES)
def test_a_model_without_the_tensors_is_refused(gate: str) -> None:
    made = model(GATES[gate])
    made.graph.outputs[:] = exit_values(made.graph)
    for value in [v for node in made.graph for v in node.outputs]:
        value.name = str(value.name).removeprefix(GIVEN)
    plans = partition(made)
    stages = [build_stage(made, plan) for plan in plans]
    logits = [TensorSpec(p.exit.name or "", "float32", ("batch", CLASSES)) for p in plans]
    with pytest.raises(ModelError, match="no tensor for the gate of exit 'exit_1'"):
        attach_gates(stages, logits, get_gate(gate))

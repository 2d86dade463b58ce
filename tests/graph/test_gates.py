"""Gates against numpy, on both engines, in every precision they compute in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import ModelError
from edgeexit.graph.gates import GATES, attach_gates, get_gate
from edgeexit.graph.partition import partition
from edgeexit.graph.stages import build_stage
from tests.graph.slicing import model_of

CLASSES = 7
TEXT = """
g (float[batch,7] x, float[7,7] w) => (float[batch,7] a, float[batch,7] b, float[batch,7] c) {
  a = Add(x, w0)
  t = MatMul(a, w)
  b = Add(t, w0)
  u = MatMul(b, w)
  c = Add(u, w0)
}"""
WEIGHTS = np.linspace(0.5, -0.5, 11).astype(np.float32)


def reference(logits: list[npt.NDArray[np.float32]], inverse: float) -> list[npt.NDArray[Any]]:
    """Return the ten features of every exit in float64."""
    features, labels, previous = [], [], np.zeros(len(logits[0]))
    for array in logits:
        z = array.astype(np.float64) * np.float64(inverse)
        order = np.sort(z, axis=1)
        label = z.argmax(axis=1)
        rest = z.copy()
        rest[np.arange(len(z)), label] = -np.inf
        lse = np.log(np.exp(z - order[:, -1:]).sum(axis=1)) + order[:, -1]
        peak = rest.max(axis=1)
        lse_rest = np.log(np.exp(rest - peak[:, None]).sum(axis=1)) + peak
        log_odds = np.clip(order[:, -1] - lse_rest, -30, 30) / 3
        p = np.exp(z - lse[:, None])
        entropy = -(p * np.where(p > 0, z - lse[:, None], 0)).sum(axis=1) / np.log(z.shape[1])
        margin = p.max(axis=1) - np.sort(p, axis=1)[:, -2]
        agree = (labels[-1] == label) if labels else np.zeros(len(z))
        share = np.mean([old == label for old in labels], axis=0) if labels else np.zeros(len(z))
        columns = [np.ones(len(z)), log_odds, log_odds**2, margin, entropy, lse]
        columns += [agree, previous if labels else np.zeros(len(z)), agree * log_odds, share]
        features.append(np.stack(columns, axis=1))
        labels.append(label)
        previous = log_odds
    return features


def gated(tmp_path: Path, gate: str) -> tuple[list[Path], list[Any]]:
    """Return stage files with the gate attached, and the attached gates."""
    random = np.random.default_rng(1)
    w = (random.standard_normal((CLASSES, CLASSES)) * 1.5).astype(np.float32)
    model = model_of(TEXT, w=w, w0=np.zeros(CLASSES, np.float32) + 0.1)
    plans = partition(model)
    stages = [build_stage(model, plan) for plan in plans]
    logits = [TensorSpec(p.exit.name or "", "float32", ("batch", CLASSES)) for p in plans]
    attached = attach_gates(stages, logits, get_gate(gate))
    paths = []
    for number, stage in enumerate(stages, start=1):
        paths.append(tmp_path / f"{number}.onnx")
        ir.save(stage, paths[-1])
    return paths, list(attached)


def run(paths: list[Path], attached: list[Any], x: npt.NDArray[Any], params: Any) -> list[Any]:
    """Run all stages; return a dict of outputs a stage."""
    values: dict[str, Any] = {"x": x, "edgeexit.gate_params": params}
    outputs = []
    for path in paths:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        feed = {value.name: values[value.name] for value in session.get_inputs()}
        outputs.append(dict(zip(names, session.run(names, feed), strict=True)))
        values |= outputs[-1]
    return outputs


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 3000.0])
def test_statistics_match_numpy(tmp_path: Path, scale: float) -> None:
    paths, attached = gated(tmp_path, "statistics")
    x = (np.random.default_rng(2).standard_normal((32, CLASSES)) * scale).astype(np.float32)
    params = WEIGHTS.copy()
    params[0] = 0.7
    outputs = run(paths, attached, x, params)
    logits = [out[name] for out, name in zip(outputs, "abc", strict=True)]
    expected = reference(logits, 0.7)
    for out, features in zip(outputs[:-1], expected, strict=False):
        assert np.isfinite(out["edgeexit.features"]).all()
        np.testing.assert_allclose(out["edgeexit.features"], features, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(
            out["edgeexit.score"], out["edgeexit.features"] @ params[1:], rtol=1e-4, atol=1e-4
        )
    assert "edgeexit.score" not in outputs[-1]


def test_masked_classes_are_finite_and_nan_logits_never_pass(tmp_path: Path) -> None:
    paths, attached = gated(tmp_path, "statistics")
    x = np.random.default_rng(3).standard_normal((4, CLASSES)).astype(np.float32)
    x[1, 2] = -np.inf
    x[2, 4] = np.nan
    x[3, 5] = np.inf
    score = run(paths[:1], attached, x, np.array((1, *get_gate("statistics").default_weights), "f"))
    score = score[0]["edgeexit.score"]
    assert np.isfinite(score[:2]).all()
    assert not (score[2:] >= -1e30).any()


def test_patience_counts_consecutive_agreement(tmp_path: Path) -> None:
    paths, attached = gated(tmp_path, "patience")
    assert [gate.spec.state for gate in attached] == [
        ("edgeexit.state_1.agreements", "edgeexit.state_1.label"),
        (),
    ]
    x = np.random.default_rng(4).standard_normal((64, CLASSES)).astype(np.float32)
    outputs = run(paths, attached, x, np.array([1, 1], np.float32))
    first, second = outputs[0]["a"].argmax(axis=1), outputs[1]["b"].argmax(axis=1)
    assert 0 < (first == second).sum() < 64
    np.testing.assert_array_equal(outputs[0]["edgeexit.score"], np.zeros(64))
    np.testing.assert_array_equal(outputs[1]["edgeexit.score"], first == second)


def test_openvino_computes_the_gate_in_float32_in_bf16_mode(tmp_path: Path) -> None:
    """What the gate makes of the logits must not depend on the engine's precision."""
    openvino = pytest.importorskip("openvino")
    paths, _ = gated(tmp_path, "statistics")
    compiled = openvino.Core().compile_model(
        str(paths[0]), "CPU", {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": 1}
    )
    x = (np.random.default_rng(5).standard_normal((16, CLASSES)) * 4).astype(np.float32)
    out = compiled({"x": x, "edgeexit.gate_params": WEIGHTS})
    expected = reference([out["a"]], float(WEIGHTS[0]))[0]
    np.testing.assert_allclose(out["edgeexit.features"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(out["edgeexit.score"], expected @ WEIGHTS[1:], rtol=1e-4, atol=1e-4)


def test_exits_of_differing_classes_need_the_confidence_gate(tmp_path: Path) -> None:
    text = """
    g (float[batch,4] x) => (float[batch,3] a, float[batch,5] b) {
      a = MatMul(x, h)
      t = Tanh(x)
      b = MatMul(t, k)
    }"""
    model = model_of(text, h=np.ones((4, 3), np.float32), k=np.ones((4, 5), np.float32))
    plans = partition(model)
    logits = [TensorSpec("a", "float32", ("batch", 3)), TensorSpec("b", "float32", ("batch", 5))]
    with pytest.raises(ModelError) as caught:
        attach_gates([build_stage(model, p) for p in plans], logits, get_gate("statistics"))
    assert caught.value.code == "model.gate-classes"
    assert "--gate confidence" in caught.value.hint
    stages = [build_stage(model, p) for p in plans]
    attached = attach_gates(stages, logits, get_gate("confidence"))
    assert attached[0].spec.features == get_gate("statistics").features[:6]


def test_an_unknown_gate_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"'entropy'.*confidence, jei-dnn, patience, q-exit, stat"):
        get_gate("entropy")


@pytest.mark.parametrize("name", sorted(GATES))
def test_gates_keep_their_own_promises(name: str) -> None:
    gate = get_gate(name)
    assert len(gate.default_weights) == len(gate.features) == len(set(gate.features))
    assert gate.flops(1000) > gate.flops(10) > 0

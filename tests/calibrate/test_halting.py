"""Models that return a probability beside their logits, from ONNX to the dial."""

from __future__ import annotations

import numpy as np
import pytest

import edgeexit
from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.calibrate import simulate
from edgeexit.calibrate.calibrate import calibrate_exits, collect_records, sweep_exits
from edgeexit.datasets import load_dataset
from edgeexit.errors import InputError, ModelError
from edgeexit.runtime.runtime import Runtime
from tests.calibrate.halting_network import halting_heads, write_halting
from tests.calibrate.network import write_network
from tests.calibrate.synthetic import WIDTHS, Clusters

FEATURES = {"q-exit": "halted", "jei-dnn": "exit_probability"}
FAMILIES = {"q-exit": "halt", "jei-dnn": "gate"}


def data(samples=2000, seed=1):
    points, labels = Clusters().draw(samples, seed)
    return {"x": points, "y": labels}


@pytest.fixture(scope="module", params=FAMILIES)
def gated(request, tmp_path_factory):
    """A bundle with one of the two gates and its name; calibrated anew by each test."""
    gate = request.param
    folder = tmp_path_factory.mktemp("halting")
    # As flat as may be, and without the last exit's: both are allowed.
    flat = gate == "jei-dnn"
    model = write_halting(folder / "m.onnx", FAMILIES[gate], last=not flat, flat=flat)
    return edgeexit.compile_model(model, folder / "m.eex", gate=gate).folder, gate


def probabilities(points):
    """What the heads give, in numpy: ``(n, 3)``."""
    hidden = Clusters().hidden(points)
    columns = [
        hidden[:, :width] @ weights[:, 0] + offset
        for width, (weights, offset) in zip(WIDTHS, halting_heads(), strict=True)
    ]
    return 1 / (1 + np.exp(-np.stack(columns[:-1], axis=1)))


def test_records_hold_what_the_paper_defines(gated):
    folder, gate = gated
    opened = Bundle.open(folder)
    dataset = load_dataset(data(), inputs=opened.manifest.inputs)
    with Runtime(opened, exits=False) as runtime:
        records = collect_records(runtime, opened.manifest, dataset)
    assert records.gate.features == (FEATURES[gate],)
    order = np.random.default_rng(0).permutation(2000)
    share = probabilities(data()["x"][order])
    if gate == "q-exit":
        wanted = 1 - np.cumprod(1 - share, axis=1)
    else:
        left = 1 - np.cumsum(np.pad(share, ((0, 0), (1, 0)))[:, :-1], axis=1)
        leave = np.clip(np.minimum(share, left), 0, None)
        stayed = np.cumprod(np.pad(1 - leave, ((0, 0), (1, 0)), constant_values=1), axis=1)
        wanted = leave / stayed[:, :-1]
    np.testing.assert_allclose(records.features[:, :, 0], wanted, rtol=1e-3, atol=1e-4)


def test_both_engines_agree_with_the_whole_model(gated):
    pytest.importorskip("openvino")
    folder, _ = gated
    bundle = Bundle.open(folder)
    engines = {found["device"]: found for found in bundle.parity()["engines"]}
    assert set(engines) == {"cpu", "x86"}
    assert all(found["agrees"] for found in engines.values())
    assert all(found["identical"] for found in engines["cpu"]["batch_1"])
    assert bundle.manifest.compaction.allowed
    features = []
    for device in engines:
        with Runtime(bundle, exits=False, target=device) as runtime:
            features.append(np.stack(runtime.all_exits({"x": data(300)["x"]}).features))
    # The device x86 may compute the heads themselves in bfloat16.
    assert np.abs(features[0] - features[1]).mean() < 0.02


def test_the_runtime_leaves_where_the_records_said_and_meets_budgets(gated):
    folder, gate = gated
    done = calibrate_exits(folder, data(4000), 0.4, policy=gate)
    fresh = data(4000, seed=2)
    opened = Bundle.open(folder)
    dataset = load_dataset(fresh, inputs=opened.manifest.inputs)
    with Runtime(opened, exits=False) as runtime:
        records = collect_records(runtime, opened.manifest, dataset)
    order = np.random.default_rng(0).permutation(4000)
    with Runtime(folder) as runtime:
        assert runtime.budget == Budget(0.4)
        for value in (0.2, 0.4, 0.8):
            runtime.budget = value
            result = runtime({"x": fresh["x"][order]})
            settings = done.family.settings(Budget(value))
            wanted = simulate(records, done.family.params, settings.thresholds)
            assert np.mean(result.exits != wanted) <= 0.002
            assert result.cost == pytest.approx(value, abs=0.04)
            by_exit = result.labels == fresh["y"][order]
            assert by_exit.mean() > done.family.per_exit_quality[0]
    # It spends where it helps: better than leaving at random between the two nearest exits.
    costs = np.asarray(opened.manifest.flops_costs)
    blind = np.interp(0.4, costs, done.family.per_exit_quality)
    assert done.point.quality > blind


def test_one_sample_alone_leaves_as_in_a_batch(gated):
    folder, gate = gated
    calibrate_exits(folder, data(), 0.4, policy=gate)
    points = data(40, seed=3)["x"]
    with Runtime(folder) as runtime:
        batch = runtime({"x": points}).exits
        singles = [int(runtime({"x": row[None]}).exits[0]) for row in points]
    assert len(set(singles)) > 2
    assert list(batch) == singles


def test_one_number_for_all_gates(gated):
    folder, gate = gated
    family = calibrate_exits(folder, data(), 0.4, policy=gate).family
    assert family.params == ((1.0, 1.0),) * 3
    inner = family.thresholds[(np.abs(family.thresholds) < 1e20).all(axis=1)]
    assert ((inner >= 0) & (inner <= 1 + 1e-6)).all()
    # Up to the gap between two neighbouring scores of each gate.
    assert np.median(np.ptp(inner, axis=1)) < 0.02


def test_other_policies_are_refused_and_a_sweep_leaves_them_out(gated):
    folder, gate = gated
    with pytest.raises(InputError, match=f"policy gain-soft cannot use this model's gate '{gate}'"):
        calibrate_exits(folder, data(), 0.4)
    found, _ = sweep_exits(folder, data(800))
    assert list(found.points) == [gate]
    assert "gain-soft" in found.left_out


def test_another_gate_drops_the_tensors(compiled, tmp_path):
    model = write_halting(tmp_path / "m.onnx")
    mine = edgeexit.compile_model(model, tmp_path / "m.eex").manifest
    plain = Bundle.open(compiled).manifest
    assert [stage.exit.name for stage in mine.stages] == [s.exit.name for s in plain.stages]
    assert mine.flops_costs == plain.flops_costs
    assert mine.static_params == plain.static_params


@pytest.mark.parametrize("gate", FAMILIES)
def test_a_model_that_returns_logits_alone_is_refused(tmp_path, gate):
    model = write_network(tmp_path / "m.onnx")
    with pytest.raises(ModelError) as error:
        edgeexit.compile_model(model, tmp_path / "m.eex", gate=gate)
    assert error.value.code == "model.gate-input"
    assert f"does not return {FAMILIES[gate]}_1" in error.value.message
    assert "sigmoid" in error.value.hint
    assert not (tmp_path / "m.eex").exists()


def test_a_subset_of_exits_keeps_their_own_tensors(tmp_path):
    model = write_halting(tmp_path / "m.onnx")
    bundle = edgeexit.compile_model(model, tmp_path / "m.eex", gate="q-exit", exits=[2, 4])
    assert [stage.exit.name for stage in bundle.manifest.stages] == ["exit_2", "exit_4"]
    points = data(50)["x"]
    with Runtime(bundle, exits=False) as runtime:
        found = runtime.all_exits({"x": points}).features[0][:, 0]
    np.testing.assert_allclose(found, probabilities(points)[:, 1], rtol=1e-3, atol=1e-4)


def test_strongly_typed_bundles_are_prepared_for_a_jetson(tmp_path):
    model = write_halting(tmp_path / "m.onnx", "gate")
    bundle = edgeexit.compile_model(
        model, tmp_path / "m.eex", target="jetson", precision="fp16", gate="jei-dnn"
    )
    assert bundle.recipe() is not None
    carried = [spec for stage in bundle.manifest.stages for spec in stage.carried_out]
    state = {spec.dtype for spec in carried if spec.name.startswith("edgeexit.")}
    assert state == {"float32"}
    assert "float16" in {spec.dtype for spec in carried}


@pytest.mark.slow
def test_int8_bundles_calibrate_too(tmp_path):
    pytest.importorskip("nncf")
    model = write_halting(tmp_path / "m.onnx")
    bundle = edgeexit.compile_model(
        model, tmp_path / "m.eex", precision="int8", quant_data=data(300, seed=7), gate="q-exit"
    )
    done = calibrate_exits(bundle, data(), 0.4, policy="q-exit")
    assert done.point.cost == pytest.approx(0.4, abs=0.01)
    with Runtime(bundle) as runtime:
        assert runtime({"x": data(seed=2)["x"]}).cost == pytest.approx(0.4, abs=0.05)

"""From a compiled bundle and data to ``exits.json``, on a real engine."""

from __future__ import annotations

import numpy as np
import pytest

import edgeexit
from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.calibrate import simulate
from edgeexit.calibrate.calibrate import Calibration, calibrate_exits, collect_records
from edgeexit.datasets import load_dataset
from edgeexit.errors import BudgetError, InputError
from edgeexit.runtime.runtime import Runtime
from tests.calibrate.synthetic import Clusters, statistics_gate


def data(samples=1500, seed=1, **changes):
    points, labels = Clusters().draw(samples, seed)
    return {"x": points, "y": labels, **changes}


@pytest.fixture(scope="module")
def records(compiled):
    opened = Bundle.open(compiled)
    dataset = load_dataset(data(), inputs=opened.manifest.inputs)
    with Runtime(opened, exits=False) as runtime:
        return collect_records(runtime, opened.manifest, dataset)


def test_the_compiled_gate_gives_the_features_that_policies_expect(compiled, records):
    points, labels = Clusters().draw(1500, 1)
    order = np.random.default_rng(0).permutation(1500)
    with Runtime(compiled, exits=False) as runtime:
        outputs = runtime.all_exits({"x": points[order]})
    wanted = np.stack(statistics_gate([np.asarray(a) for a in outputs.logits]), axis=1)
    np.testing.assert_allclose(records.features, wanted, rtol=1e-4, atol=1e-5)
    correct = np.stack([a.argmax(axis=1) == labels[order] for a in outputs.logits], axis=1)
    np.testing.assert_array_equal(records.quality, correct)
    assert records.quality.mean(axis=0)[-1] > 0.9


@pytest.mark.parametrize("policy", ["gain-soft", "opt-soft", "geometric"])
def test_the_runtime_leaves_where_the_records_said(bundle, records, policy):
    calibration = calibrate_exits(bundle, data(), 0.5, policy=policy)
    points, _ = Clusters().draw(1500, 1)
    order = np.random.default_rng(0).permutation(1500)
    with Runtime(bundle) as runtime:
        assert runtime.budget == Budget(0.5)
        for value in (0.3, 0.5, 0.8):
            runtime.budget = value
            result = runtime({"x": points[order]})
            setting = calibration.family.settings(Budget(value))
            wanted = simulate(records, calibration.family.params, setting.thresholds)
            assert np.mean(result.exits != wanted) <= 0.002  # a rounding at a threshold
            assert result.cost == pytest.approx(value, abs=0.01)


def test_budget_on_fresh_data(bundle):
    calibration = calibrate_exits(bundle, data(4000), 0.5)
    assert isinstance(calibration, Calibration)
    assert not calibration.recommended
    assert calibration.point.cost == pytest.approx(0.5, abs=1e-6)
    points, labels = Clusters().draw(4000, 2)
    with Runtime(bundle) as runtime:
        result = runtime({"x": points})
    assert result.cost == pytest.approx(0.5, abs=0.02)
    assert np.mean(result.labels == labels) == pytest.approx(calibration.point.quality, abs=0.02)


def test_recommendation_without_a_budget(bundle):
    calibration = edgeexit.calibrate_exits(bundle, data(), max_drop=1.0)
    assert calibration.recommended
    assert calibration.point.drop <= 1.0 + 1e-9
    assert calibration.point.cost < 1.0
    assert calibration.file == bundle / "exits.json"
    stored = Bundle.open(bundle).exits()
    assert stored.budget is None
    np.testing.assert_array_equal(stored.thresholds, calibration.family.thresholds)
    assert stored.data_sha256 == load_dataset(data()).sha256
    costs = [point.cost for point in calibration.table]
    assert costs == sorted(costs)
    assert costs[0] == pytest.approx(Bundle.open(bundle).manifest.flops_costs[0])


def test_progress_and_output(bundle, tmp_path):
    seen = []
    calibration = calibrate_exits(
        bundle, data(600), 0.6, output=tmp_path / "mine.json", progress=lambda *n: seen.append(n)
    )
    assert seen == [(256, 600), (512, 600), (600, 600)]
    assert calibration.file == tmp_path / "mine.json"
    assert not (bundle / "exits.json").exists()
    assert Bundle.open(bundle).exits(calibration.file).budget == Budget(0.6)


def test_groups_of_any_kind_reach_the_records(compiled):
    opened = Bundle.open(compiled)
    named = np.array(["b", "a", "c"])[np.arange(60) % 3]
    dataset = load_dataset(data(60, group=named), inputs=opened.manifest.inputs)
    with Runtime(opened, exits=False) as runtime:
        found = collect_records(runtime, opened.manifest, dataset).group
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(found, np.array([1, 0, 2])[order % 3])


@pytest.mark.parametrize(
    ("change", "budget", "policy", "kind", "message"),
    [
        ({}, 0.01, "gain-soft", BudgetError, "budget 0.01 is outside what this model can do"),
        ({}, 3, "gain-soft", BudgetError, "leaving always at the first exit costs 0.0"),
        ({}, "fast", "gain-soft", BudgetError, "'fast' is not a budget"),
        ({}, 0.5, "magic", InputError, "there is no exit policy 'magic'"),
        ({}, 0.5, "patience", InputError, "cannot use this model's gate 'statistics'"),
        ({"y": np.full(1500, 10)}, 0.5, "gain-soft", InputError, "label 10 of sample 0"),
        ({"x": np.full((1500, 12), np.nan, np.float32)}, 0.5, "gain-soft", InputError, "nan"),
        ({"q": np.zeros(1500)}, 0.5, "gain-soft", InputError, "'q'"),
    ],
)
def test_bad_input_leaves_the_old_exits(bundle, change, budget, policy, kind, message):
    calibrate_exits(bundle, data(200), 0.5)
    before = (bundle / "exits.json").read_bytes()
    with pytest.raises(kind, match=message):
        calibrate_exits(bundle, data(**change), budget, policy=policy)
    assert (bundle / "exits.json").read_bytes() == before


def test_budget_in_milliseconds(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    free = calibrate_exits(bundle, data(300), cost="latency")
    table = free.family.costs["latency"]
    assert set(free.family.costs) == {"latency", "flops"}
    assert free.point.budget.kind == "latency"
    # The profile lies in the cache now, so the same table comes back and its middle is in bounds.
    middle = Budget((table.per_exit[0] + table.per_exit[-1]) / 2, "latency")
    calibration = calibrate_exits(bundle, data(300), middle)
    assert calibration.family.costs["latency"] == table
    assert calibration.point.cost == pytest.approx(middle.value)
    with Runtime(bundle) as runtime:
        assert runtime.budget == middle
        assert table.fingerprint == runtime.machine.fingerprint
    before = (bundle / "exits.json").read_bytes()
    with pytest.raises(
        BudgetError, match=r"first exit costs [\d.]+ ms, always at the last [\d.]+ ms"
    ):
        calibrate_exits(bundle, data(300), "90000ms")
    assert (bundle / "exits.json").read_bytes() == before


def test_too_few_samples(bundle):
    with pytest.raises(InputError, match="20 samples are too few to calibrate exits"):
        calibrate_exits(bundle, data(20), 0.5)
    assert not (bundle / "exits.json").exists()


def test_labels_of_a_loaded_data_set_are_checked_in_its_own_order(bundle):
    labels = np.zeros(200, dtype=np.int64)
    labels[123] = 77
    dataset = load_dataset(data(200, y=labels))
    with pytest.raises(InputError, match="label 77 of sample 123 is out of range"):
        calibrate_exits(bundle, dataset, 0.5)


def test_damaged_exits_are_replaced(bundle):
    (bundle / "exits.json").write_text("{")
    calibrate_exits(bundle, data(200), 0.5)
    assert Bundle.open(bundle).exits().budget == Budget(0.5)


def test_without_labels_quality_is_agreement(bundle):
    points, _ = Clusters().draw(500, 1)
    calibration = calibrate_exits(bundle, {"x": points}, 0.5)
    assert calibration.family.quality_kind == "agreement"
    assert calibration.table[-1].quality == 1.0

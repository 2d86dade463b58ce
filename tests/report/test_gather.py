"""The numbers of a report against the running bundle and against the arithmetic of its parts."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from edgeexit.budget import Budget
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.errors import BudgetError, InputError, TargetError
from edgeexit.report.charts import curve_chart
from edgeexit.report.gather import gather_report
from edgeexit.report.page import render_page
from edgeexit.report.stored import stored_parity
from edgeexit.runtime.profile import keep_profile, measure_profile
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
from tests.calibrate.energies import keep_made_up
from tests.report.conftest import BUDGET
from tests.runtime.batch_times import keep_batches, made_batch


def test_the_point_is_what_the_runtime_does(calibrated, full, arrays):
    with Runtime(calibrated.bundle, BUDGET, exits=calibrated.exits) as runtime:
        result = runtime(arrays["x"])
    right = result.labels == arrays["y"]
    place = full.point.place
    assert place.cost == pytest.approx(result.cost, abs=1e-9)
    assert place.quality == pytest.approx(right.mean(), abs=1e-9)
    assert place.low < place.quality < place.high
    lost = 100 * (full.curve.static.quality - place.quality)
    assert full.point.drop == pytest.approx(lost)
    assert full.point.drop_low < lost < full.point.drop_high
    counts = np.bincount(result.exits - 1, minlength=3)
    assert [flow.count for flow in full.flow] == counts.tolist()
    assert full.point.shares == pytest.approx(counts / 800)
    first = full.flow[0]
    assert first.quality == pytest.approx(right[result.exits == 1].mean())
    assert sum(each.count for each in full.classes) == 800


def test_exits_and_the_static_model_are_those_of_the_onnx_file(calibrated, full, arrays):
    session = onnxruntime.InferenceSession(
        calibrated.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    logits = session.run(None, {"x": arrays["x"]})
    accuracy = [(array.argmax(axis=1) == arrays["y"]).mean() for array in logits]
    assert [place.quality for place in full.curve.exits] == pytest.approx(accuracy)
    assert [each.quality for each in full.reliability] == pytest.approx(accuracy)
    assert full.curve.static.quality == pytest.approx(accuracy[-1])
    assert full.curve.static.cost == 1.0
    assert full.curve.exits[0].cost == calibrated.bundle.manifest.flops_costs[0]
    odds = np.exp(logits[0] - logits[0].max(axis=1, keepdims=True))
    believed = (odds.max(axis=1) / odds.sum(axis=1)).mean()
    assert full.reliability[0].confidence == pytest.approx(believed, abs=1e-6)


def test_the_measured_curve_joins_the_first_exit_and_the_last(full):
    curve, exits = full.curve.measured, full.curve.exits
    assert (curve[0].cost, curve[0].quality) == pytest.approx((exits[0].cost, exits[0].quality))
    assert (curve[-1].cost, curve[-1].quality) == pytest.approx((exits[-1].cost, exits[-1].quality))
    costs = [place.cost for place in curve]
    assert costs == sorted(costs)
    assert all(place.low <= place.quality <= place.high for place in curve)
    assert len(curve) == len(full.curve.fitted)


def test_without_data_the_calibration_set_speaks(calibrated, bare):
    assert (bare.data, bare.flow, bare.classes, bare.reliability) == (None, (), (), ())
    assert bare.curve.measured == ()
    assert bare.point.place.cost == pytest.approx(BUDGET, abs=0.01)
    assert bare.point.place.low is None
    assert any("no data were given" in sentence for sentence in bare.missing)
    own = gather_report(calibrated.bundle, calibrated.data, exits=calibrated.exits)
    assert own.data.calibration_set
    assert any("calibration set itself" in sentence for sentence in own.missing)
    assert own.point.place.quality == pytest.approx(bare.point.place.quality, abs=0.005)


def test_without_labels_quality_is_agreement_with_the_last_exit(calibrated, full, arrays):
    found = gather_report(calibrated.bundle, {"x": arrays["x"]}, exits=calibrated.exits)
    assert not found.data.labelled
    assert (found.curve.quality, found.curve.exits[-1].quality) == ("agreement", 1.0)
    assert found.curve.fitted == ()
    assert found.reliability == ()
    assert found.point.shares == full.point.shares
    assert any("no labels" in sentence for sentence in found.missing)


def test_groups_widen_the_bands(calibrated, full, arrays):
    # Each sample five times over: five times the samples, and no more to learn from.
    copies = {name: np.repeat(array, 5, axis=0) for name, array in arrays.items()}
    grouped = gather_report(
        calibrated.bundle, copies | {"group": np.repeat(np.arange(800), 5)}, exits=calibrated.exits
    )
    apart = gather_report(calibrated.bundle, copies, exits=calibrated.exits)
    assert (grouped.data.units, grouped.data.unit) == (800, "group")

    def width(report):
        return report.point.place.high - report.point.place.low

    assert width(grouped) == pytest.approx(width(full), rel=0.2)
    assert width(grouped) > 1.7 * width(apart)


def test_a_bundle_that_is_not_calibrated(made):
    bare = gather_report(made.bundle)
    assert (bare.verdict.choice, bare.calibrated, bare.point) == ("calibrate", None, None)
    assert (bare.curve.exits, bare.curve.static) == ((), None)
    assert not any("The curve" in sentence for sentence in bare.missing)
    measured = gather_report(made.bundle, made.test)
    assert measured.verdict.choice == "calibrate"
    assert [flow.share for flow in measured.flow] == [0.0, 0.0, 1.0]
    assert len(measured.curve.exits) == 3
    assert any("not calibrated" in sentence for sentence in measured.missing)


def test_the_profile_of_this_device(calibrated, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path))
    before = gather_report(calibrated.bundle, exits=calibrated.exits)
    assert before.here.profile is None
    assert any("edgeexit profile" in sentence for sentence in before.missing)
    with Runtime(calibrated.bundle, exits=False) as runtime:
        profile = measure_profile(runtime, seconds=0.05)
        keep_profile(runtime, profile)
    found = gather_report(calibrated.bundle, exits=calibrated.exits).here.profile
    assert [stage.median for stage in found.stages] == [
        stage.p50 for stage in profile.batches[0].stages
    ]
    assert found.mean((0.0, 0.0, 1.0)) == profile.cost_table().per_exit[-1]
    assert found.mean((0.5, 0.5, 0.0)) == pytest.approx(sum(found.per_exit[:2]) / 2)


def test_an_engine_that_is_not_here_leaves_time_out(calibrated, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    found = gather_report(calibrated.bundle, exits=calibrated.exits)
    assert (found.here.engine, found.here.profile) == (None, None)
    assert any(sentence.startswith("No time was measured: the") for sentence in found.missing)
    with pytest.raises(TargetError):
        gather_report(calibrated.bundle, calibrated.test, exits=calibrated.exits)


def test_another_budget_moves_the_point_and_a_wrong_one_is_refused(calibrated, bare):
    dear = gather_report(calibrated.bundle, budget=1.0, exits=calibrated.exits)
    assert dear.model.budget == "1"
    assert dear.point.place.cost == pytest.approx(1.0, abs=0.01)
    assert dear.point.place.quality > bare.point.place.quality
    with pytest.raises(BudgetError, match="outside what this model can do"):
        gather_report(calibrated.bundle, budget=0.01, exits=calibrated.exits)


def test_a_budget_for_exits_that_are_not_calibrated_is_refused(made):
    with pytest.raises(BudgetError, match=r"needs calibrated exits"):
        gather_report(made.bundle, budget=0.5)


def test_a_budget_in_milliseconds_is_drawn_against_latency(
    calibrated, arrays, tmp_path, monkeypatch
):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    exits = tmp_path / "exits.json"
    family = calibrate_exits(
        calibrated.bundle, calibrated.data, cost="latency", output=exits
    ).family
    table = family.costs["latency"]
    budget = Budget((table.per_exit[0] + table.per_exit[-1]) / 2, "latency")
    found = gather_report(calibrated.bundle, calibrated.test, budget=budget, exits=exits)
    assert found.curve.kind == "latency"
    assert found.curve.budget == pytest.approx(budget.value / table.static)
    costs = [place.cost for place in found.curve.exits]
    assert costs == pytest.approx([cost / table.static for cost in table.per_exit])
    assert found.point.place.cost == pytest.approx(np.dot(found.point.shares, costs))
    assert found.model.budget == str(budget)
    without = gather_report(calibrated.bundle, exits=exits)
    assert (without.model.budget, without.curve.kind, without.point) == (None, "flops", None)


def test_a_budget_in_batches_is_drawn_against_flops(calibrated, tmp_path, monkeypatch):
    """What a sample costs in a batch depends on the others; FLOPs do not."""
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    keep_batches(calibrated.bundle, [made_batch(n, (1 + n, 2 + n, 3 + n)) for n in (1, 2, 4)])
    exits = tmp_path / "exits.json"
    calibrate_exits(calibrated.bundle, calibrated.data, "3ms", batch=4, mode="whole", output=exits)
    costs = calibrated.bundle.manifest.flops_costs
    bare = gather_report(calibrated.bundle, exits=exits)
    assert bare.model.budget == "3 ms (whole batches of 4)"
    assert bare.curve.kind == "flops"
    assert bare.curve.budget == pytest.approx(np.dot(bare.point.shares, costs))
    assert bare.point.place.cost == pytest.approx(bare.curve.budget)
    found = gather_report(calibrated.bundle, calibrated.test, exits=exits)
    assert found.point.place.cost == pytest.approx(np.dot(found.point.shares, costs))
    assert "3 ms (whole batches of 4)" in render_page(found)


@pytest.mark.parametrize(("estimated", "mark"), [(True, " (estimated)"), (False, "")])
def test_the_verdict_says_of_its_budget_what_is_estimated(
    calibrated, arrays, tmp_path, monkeypatch, estimated, mark
):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    session = onnxruntime.InferenceSession(
        calibrated.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    first, *_, last = session.run(None, {"x": arrays["x"]})
    # Labels of which the first exit knows those it is sure of, and the last one the others.
    sure = np.ptp(first, axis=1) > np.quantile(np.ptp(first, axis=1), 0.7)
    labels = np.where(sure, first.argmax(axis=1), last.argmax(axis=1))
    np.savez(tmp_path / "data.npz", x=arrays["x"], y=labels)
    keep_made_up(calibrated.bundle, (0.010, 0.020, 0.040), estimated=estimated)
    exits = tmp_path / "exits.json"
    calibrate_exits(calibrated.bundle, tmp_path / "data.npz", "30mJ", output=exits)
    found = gather_report(calibrated.bundle, tmp_path / "data.npz", exits=exits)
    assert f"Ship early exits at budget 30 mJ{mark}: accuracy" in found.verdict.sentence


@pytest.mark.parametrize("estimated", [True, False])
def test_a_budget_in_millijoules_is_drawn_against_energy(
    calibrated, tmp_path, monkeypatch, estimated
):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    exits = tmp_path / "exits.json"
    keep_made_up(calibrated.bundle, (0.010, 0.020, 0.040), estimated=estimated)
    calibrate_exits(calibrated.bundle, calibrated.data, "22mJ", output=exits)
    found = gather_report(calibrated.bundle, calibrated.test, exits=exits)
    assert (found.curve.kind, found.curve.estimated) == ("energy", estimated)
    assert found.curve.budget == pytest.approx(22 / 40)
    costs = [place.cost for place in found.curve.exits]
    assert costs == pytest.approx([0.25, 0.5, 1.0])
    assert found.point.place.cost == pytest.approx(np.dot(found.point.shares, costs))
    assert found.model.budget == ("22 mJ (estimated)" if estimated else "22 mJ")
    page, sentences = render_page(found), " ".join(found.missing)
    unit = "estimated energy" if estimated else "energy"
    assert f"cost, of static {unit}" in page
    assert f"{unit} of the static model" in curve_chart(found).wide
    assert f" of its {unit}. To make it:" in found.verdict.sentence
    assert ("exits were calibrated on is estimated, not measured" in sentences) == estimated
    elsewhere = tmp_path / "elsewhere.json"
    family = calibrated.bundle.exits(exits)
    other = dataclasses.replace(family.costs["energy"], fingerprint="another board")
    costs = {**family.costs, "energy": other}
    calibrated.bundle.write_exits(dataclasses.replace(family, costs=costs), elsewhere)
    told = gather_report(calibrated.bundle, exits=elsewhere).missing
    assert "Energy was calibrated on another device: another board." in told


def test_the_limit_takes_samples_evenly(calibrated):
    found = gather_report(calibrated.bundle, calibrated.test, exits=calibrated.exits, limit=100)
    assert found.data.samples == 100
    with pytest.raises(InputError, match="limit is 0"):
        gather_report(calibrated.bundle, calibrated.test, exits=calibrated.exits, limit=0)


def test_data_of_another_kind_are_refused(calibrated, arrays):
    with pytest.raises(InputError, match="float64"):
        gather_report(calibrated.bundle, {"x": arrays["x"].astype(np.float64)})


def test_one_sample_is_enough_for_a_page(calibrated, arrays):
    one = {name: array[:1] for name, array in arrays.items()}
    found = gather_report(calibrated.bundle, one, exits=calibrated.exits)
    assert found.data.samples == 1
    assert found.point.place.low == found.point.place.quality == found.point.place.high


def test_the_answer_is_json(full, bare):
    for report in (full, bare):
        answer = json.loads(json.dumps(report.as_json(), allow_nan=False))
        assert answer["model"]["exits"] == 3
        assert answer["verdict"]["sentence"] == report.verdict.sentence


@pytest.mark.parametrize("policy", ["geometric", "single", "margin"])
def test_families_of_other_policies(calibrated, tmp_path, policy):
    exits = tmp_path / "exits.json"
    family = calibrate_exits(
        calibrated.bundle, calibrated.data, BUDGET, policy=policy, output=exits
    ).family
    found = gather_report(calibrated.bundle, calibrated.test, exits=exits)
    assert found.calibrated.policy == policy
    costs = [place.cost for place in found.curve.fitted]
    assert costs == sorted(costs)
    assert (costs[0], costs[-1]) == pytest.approx(tuple(family.curve("flops")[[0, -1]]))
    assert len(found.curve.measured) == len(costs)
    assert found.point.place.cost <= BUDGET + 0.03


def test_a_certificate_is_named_with_the_budget_that_it_certifies(calibrated, tmp_path):
    exits = tmp_path / "exits.json"
    family = calibrate_exits(
        calibrated.bundle, calibrated.data, BUDGET, guarantee=0.9, iid=True, output=exits
    ).family
    assert [str(entry.budget) for entry in family.certificate.budgets].count("0.7") == 1
    found = gather_report(calibrated.bundle, calibrated.test, budget=0.75, exits=exits)
    assert (found.calibrated.confidence, found.calibrated.certified) == (0.9, "0.7")
    assert found.point.place.cost <= 0.7
    assert "Certified with 90.0 % confidence" in render_page(found)


def test_where_the_static_model_does_not_run_the_last_exit_stands_in(calibrated, full, monkeypatch):
    def refuse(*_arguments, **_options):
        raise TargetError("a fake refusal.", hint="none.", code="target.fake")

    monkeypatch.setattr(WholeModel, "of_bundle", refuse)
    found = gather_report(calibrated.bundle, calibrated.test, exits=calibrated.exits)
    assert found.curve.static.quality == full.curve.exits[-1].quality
    assert any(sentence.endswith("stands in for it. a fake refusal.") for sentence in found.missing)


def test_parity_of_another_form_counts_as_none(full):
    assert full.parity.inputs == "random"
    assert any("random inputs" in sentence for sentence in full.missing)
    assert stored_parity(SimpleNamespace(parity=lambda: {"samples": 64})) is None

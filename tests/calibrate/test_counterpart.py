"""Calibrations compared over engines and precisions, on real engines."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

import edgeexit
from edgeexit.bundle.bundle import Bundle
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.calibrate.counterpart import require_same_model
from edgeexit.cli.compare_tables import compare_lines
from edgeexit.errors import BundleError, InputError
from tests.calibrate.network import write_network
from tests.calibrate.synthetic import Clusters


def data(samples=1500, seed=1):
    points, labels = Clusters().draw(samples, seed)
    return {"x": points, "y": labels}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The same model for OpenVINO, not calibrated; leave it so."""
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("counterpart")
    model = write_network(folder / "clusters.onnx")
    return edgeexit.compile_model(model, folder / "other.eex", target="x86", precision="f32").folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_engines_leave_alike_and_nothing_is_written_to_the_other(bundle, other):
    before = contents(other)
    done = calibrate_exits(bundle, data(), 0.5, policy="single", compare=other)
    found = done.compared
    assert (found.device, found.precision, found.origin) == ("x86", "f32", "fitted")
    assert (found.policy, found.same_data) == ("single", True)
    assert [point.budget for point in found.points] == pytest.approx([0.3, 0.5, 0.7])
    for point in found.points:
        assert point.exit_flips <= 0.002
        assert point.answer_flips <= 0.002
        assert abs(point.here.error) <= 0.004
        assert abs(point.there.error) <= 0.004
    line, table = compare_lines(found)[1:]
    assert f"compared with {other}, f32 for x86: not calibrated before" in line
    assert table.columns[-1] == "same thresholds"
    assert [row[0] for row in table.rows] == ["0.300", "0.500", "0.700"]
    assert all(len(row) == len(table.columns) == 8 for row in table.rows)
    assert contents(other) == before
    assert Bundle.open(bundle).exits().policy == "single"


def test_stored_exits_of_other_data_are_named_as_such(bundle, other, tmp_path):
    stored = shutil.copytree(other, tmp_path / "stored.eex")
    calibrate_exits(stored, data(800, seed=5), 0.6, policy="opt-soft")
    before = contents(stored)
    found = calibrate_exits(bundle, data(), 0.45, policy="opt-soft", compare=stored).compared
    assert (found.origin, found.policy, found.same_data) == ("stored", "opt-soft", False)
    assert [point.budget for point in found.points] == pytest.approx([0.3, 0.45, 0.5, 0.7])
    assert contents(stored) == before
    # Other data: thresholds differ by chance, and so does what they cost here.
    assert max(abs(point.here.error) for point in found.points) > 1e-4
    assert all(point.engine_flips <= 0.002 for point in found.points)


@pytest.mark.parametrize("named", ["bundle", "file"])
def test_earlier_exits_of_the_same_bundle(bundle, tmp_path, named):
    with pytest.raises(InputError, match="has no exits yet to compare with") as error:
        calibrate_exits(bundle, data(), 0.5, compare=bundle)
    assert error.value.code == "compare.no-exits"
    assert not (bundle / "exits.json").exists()
    earlier = calibrate_exits(bundle, data(700, seed=9), 0.5)
    if named == "file":
        shutil.copy(bundle / "exits.json", tmp_path / "earlier.json")
    place = bundle if named == "bundle" else tmp_path / "earlier.json"
    done = calibrate_exits(bundle, data(), 0.5, compare=place)
    assert (done.compared.origin, done.compared.same_data) == ("previous", False)
    point = next(point for point in done.compared.points if point.budget == 0.5)
    # What the earlier thresholds spend on the new data, counted by hand.
    from edgeexit.budget import Budget
    from edgeexit.runtime.runtime import Runtime

    settings = earlier.family.settings(Budget(0.5))
    with Runtime(bundle, exits=False) as runtime:
        features = runtime.all_exits({"x": data()["x"]}).features
    weights = [params[1:] for params in settings.params]
    scores = np.stack([f @ w for f, w in zip(features, weights, strict=True)], axis=1)
    gone = scores >= settings.thresholds
    exits = np.where(gone.any(axis=1), gone.argmax(axis=1), 3)
    cost = np.asarray(Bundle.open(bundle).manifest.flops_costs)[exits].mean()
    assert point.here.borrowed_cost == pytest.approx(cost, abs=1e-3)
    assert point.engine_flips == 0


def test_a_latency_budget_is_compared_in_flops(bundle, other, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    done = calibrate_exits(bundle, data(600), cost="latency", policy="single", compare=other)
    assert done.point.budget.kind == "latency"
    shares = np.asarray(done.point.shares)
    flops = float(shares @ np.asarray(Bundle.open(bundle).manifest.flops_costs))
    budgets = [point.budget for point in done.compared.points]
    assert min(abs(budget - flops) for budget in budgets) < 1e-3


def test_a_bundle_of_another_model_is_refused_before_a_stage_runs(bundle, tmp_path):
    seen = []
    model = write_network(tmp_path / "clusters.onnx")
    exits = ("exit_1", "exit_3", "exit_4")
    fewer = edgeexit.compile_model(model, tmp_path / "fewer.eex", exits=exits).folder
    with pytest.raises(InputError) as error:
        calibrate_exits(bundle, data(), 0.5, compare=fewer, progress=lambda *n: seen.append(n))
    assert error.value.code == "compare.other-model"
    assert "exits here: exit_1 10, exit_2 10" in error.value.message
    assert "exits there: exit_1 10, exit_3 10" in error.value.message
    assert seen == []
    assert not (bundle / "exits.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("source", "source model"),
        ("classes", "class names"),
        ("gate", "gate here: statistics 1; gate there: patience 1"),
        ("inputs", "inputs"),
    ],
)
def test_each_difference_is_named(compiled, change, said):
    mine = Bundle.open(compiled).manifest
    first = mine.stages[0]
    other = {
        "source": replace(mine, provenance=replace(mine.provenance, source_sha256="0" * 64)),
        "classes": replace(mine, classes=tuple("abcdefghij")),
        "gate": replace(
            mine, stages=(replace(first, gate=replace(first.gate, name="patience")), *mine.stages)
        ),
        "inputs": replace(mine, inputs=(replace(mine.inputs[0], dtype="uint8"),)),
    }[change]
    if change == "gate":
        other = replace(other, stages=(other.stages[0], *mine.stages[1:]))
    with pytest.raises(InputError, match=said):
        require_same_model(mine, other)
    unknown = replace(mine, provenance=replace(mine.provenance, source_sha256=""))
    require_same_model(mine, unknown)


@pytest.mark.parametrize("what", ["missing", "damaged", "of another bundle"])
def test_what_cannot_be_compared_with(bundle, other, tmp_path, what):
    place = tmp_path / "theirs"
    if what == "damaged":
        place.write_text("{}")
    elif what == "of another bundle":
        theirs = shutil.copytree(other, tmp_path / "theirs.eex")
        calibrate_exits(theirs, data(600), 0.5)
        place = theirs / "exits.json"
    with pytest.raises(BundleError):
        calibrate_exits(bundle, data(600), 0.5, compare=place)
    assert not (bundle / "exits.json").exists()

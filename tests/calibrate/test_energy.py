"""Budgets in joules: from the energy profile of a device to exits and a runtime that keeps them."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate.calibrate import calibrate_exits, sweep_exits
from edgeexit.calibrate.costs import check_budget
from edgeexit.calibrate.frontier import point_at
from edgeexit.errors import BudgetError, ResourceError
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.power.profile import energy_table
from edgeexit.runtime.runtime import Runtime
from tests.calibrate.energies import keep_made_up, made_up
from tests.calibrate.synthetic import Clusters

JOULES = (0.010, 0.018, 0.030, 0.060)


def data(samples=600, seed=1, **changes):
    points, labels = Clusters().draw(samples, seed)
    return {"x": points, "y": labels, **changes}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))


def test_a_table_from_a_profile():
    table = energy_table(made_up("here", JOULES, error=0.0002))
    assert (table.kind, table.fingerprint, table.estimated) == ("energy", "here", False)
    np.testing.assert_allclose(table.per_exit, (10, 18, 30, 60))
    np.testing.assert_allclose(table.errors, 4 * [0.2])
    assert table.static == pytest.approx(60)
    assert energy_table(made_up("here", JOULES, estimated=True)).estimated


def test_a_budget_in_millijoules(bundle):
    keep_made_up(Bundle.open(bundle), JOULES)
    calibration = calibrate_exits(bundle, data(), "25mJ")
    assert set(calibration.family.costs) == {"energy", "flops"}
    assert calibration.point.cost == pytest.approx(25.0)
    assert calibration.point.relative == pytest.approx(25 / 60)
    assert np.dot(calibration.point.shares, (10, 18, 30, 60)) == pytest.approx(25.0)
    stored = Bundle.open(bundle).exits()
    assert stored.budget == Budget(25.0, "energy")
    fingerprint = Machine.of(Bundle.open(bundle)).fingerprint
    assert stored.costs["energy"] == energy_table(made_up(fingerprint, JOULES))
    points, _ = Clusters().draw(4000, 2)
    with Runtime(bundle) as runtime:
        assert runtime.budget == Budget(25.0, "energy")
        assert runtime.stats().budget == "25 mJ"
        for value in (15, 25, 40):
            runtime.budget = f"{value}mJ"
            spent = np.asarray((10, 18, 30, 60))[runtime({"x": points}).exits - 1].mean()
            assert spent == pytest.approx(value, abs=2.0)


def test_without_a_budget_the_least_energy_is_recommended(bundle):
    keep_made_up(Bundle.open(bundle), JOULES, estimated=True)
    calibration = calibrate_exits(bundle, data(), cost="energy", max_drop=2.0)
    assert calibration.recommended
    assert calibration.point.budget.kind == "energy"
    assert calibration.point.drop <= 2.0
    assert 10 <= calibration.point.cost < 60
    assert calibration.family.costs["energy"].estimated


def test_budgets_out_of_bounds_say_what_is_estimated(bundle):
    keep_made_up(Bundle.open(bundle), JOULES, estimated=True)
    with pytest.raises(BudgetError, match=r"costs 10 mJ \(estimated\), always .* 60 mJ \(est") as e:
        calibrate_exits(bundle, data(), "0.07J")
    assert e.value.code == "budget.bounds"
    assert "edgeexit profile --energy measures again" in e.value.hint
    with pytest.raises(BudgetError, match="budget 40 mJ is of kind energy"):
        check_budget(Budget(40, "energy"), CostTable("flops", (0.2, 1.0), 1.0))


@pytest.mark.parametrize(
    ("joules", "error", "message"),
    [
        ((0.010, 0.018, 0.0179, 0.060), 0.0001, r"exit 3 was measured to draw 17.9 mJ, no more"),
        ((0.010, 0.018, 0.030, 0.060), 0.0060, r"the energy of exit 1 is 10 mJ with a standard"),
    ],
)
def test_what_a_meter_does_not_tell_apart_is_refused(bundle, joules, error, message):
    keep_made_up(Bundle.open(bundle), joules, error=error)
    with pytest.raises(ResourceError, match=message) as caught:
        calibrate_exits(bundle, data(), "25mJ")
    assert caught.value.code == "energy.noise"
    assert "edgeexit profile --energy --seconds N" in caught.value.hint
    assert not (bundle / "exits.json").exists()


def test_a_guarantee_counts_the_error_bars(bundle):
    costs = {}
    for error in (0.0, 0.0015):
        keep_made_up(Bundle.open(bundle), JOULES, error=error)
        family = calibrate_exits(bundle, data(2000), "30mJ", guarantee=0.95, iid=True).family
        costs[error] = point_at(family, Budget(30.0, "energy")).cost
        assert family.certificate.budgets[1].budget == Budget(30.0, "energy")
    # With a standard error of 1.5 mJ, z = 3.02 for four costs: some 4.5 mJ are kept back.
    assert costs[0.0] < 30.0
    assert costs[0.0015] < costs[0.0] - 3.0


def test_a_sweep_over_energy(bundle):
    keep_made_up(Bundle.open(bundle), JOULES, estimated=True)
    found, verdict = sweep_exits(bundle, data(), cost="energy", max_drop=3.0)
    assert (found.kind_table.kind, found.kind_table.estimated) == ("energy", True)
    assert all(budget.kind == "energy" for budget in found.budgets)
    assert verdict.relative <= 1.0

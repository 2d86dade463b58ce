"""Exit families: budgets met, on the calibration set and on fresh draws."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.budget import Budget
from edgeexit.bundle.codec import encode
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate import fit_family, simulate
from edgeexit.calibrate.policies import POLICIES as ALL_POLICIES
from edgeexit.calibrate.records import ExitRecords
from edgeexit.errors import BudgetError, InputError
from tests.calibrate.synthetic import CONFIDENCE, COSTS, PATIENCE, STATISTICS, make_records

FLOPS = CostTable("flops", COSTS, 1.0)
POLICIES = ["gain-soft", "opt-soft", "geometric"]
ALL = [name for name, policy in ALL_POLICIES.items() if policy.suits(CONFIDENCE)]


def realised(family, records, budget):
    """Mean cost and quality of a budget, as the runtime would take it."""
    setting = family.settings(budget)
    exits = simulate(records, family.params, setting.thresholds) - 1
    costs = np.asarray(family.costs[budget.kind].per_exit)
    return costs[exits].mean(), records.quality[np.arange(len(records)), exits].mean()


@pytest.mark.parametrize("gate", [STATISTICS, CONFIDENCE])
@pytest.mark.parametrize("policy", ALL)
def test_every_budget_is_met_on_the_calibration_set(policy, gate):
    records = make_records(2000, 1, gate)
    family = fit_family(records, [FLOPS], policy=policy)
    for value in np.linspace(COSTS[0], COSTS[-1], 41):
        cost, _ = realised(family, records, Budget(float(value)))
        assert cost == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize("policy", POLICIES)
def test_realised_cost_on_fresh_draws(policy):
    misses = []
    for seed in range(6):
        family = fit_family(make_records(2000, 10 + seed), [FLOPS], policy=policy)
        for value in (0.3, 0.5, 0.7):
            cost, _ = realised(family, make_records(20_000, 2), Budget(value))
            misses.append(abs(cost - value))
    assert np.mean(misses) < 0.01
    assert np.max(misses) < 0.03


def test_gain_soft_answers_better_than_geometric_at_equal_budgets():
    truth = make_records(20_000, 2)
    gains = []
    for value in (0.3, 0.4, 0.5, 0.6):
        budget = Budget(value)
        quality = {
            policy: realised(
                fit_family(make_records(5000, 1), [FLOPS], policy=policy, budget=budget),
                truth,
                budget,
            )[1]
            for policy in POLICIES
        }
        gains.append(quality["gain-soft"] - quality["geometric"])
        assert quality["opt-soft"] > quality["geometric"] - 0.001
    assert min(gains) > 0
    assert np.mean(gains) > 0.004


def test_measured_curve_is_what_simulation_gives():
    records = make_records(1000, 1)
    family = fit_family(records, [FLOPS])
    curve = family.curve("flops")
    assert (np.diff(curve) >= 0).all()
    for row in (0, 1, 77, 200, len(curve) - 1):
        exits = simulate(records, family.params, family.thresholds[row])
        assert np.mean(np.array(COSTS)[exits - 1]) == pytest.approx(curve[row])
        quality = records.quality[np.arange(1000), exits - 1].mean()
        assert family.quality[row] == pytest.approx(quality)
    np.testing.assert_allclose(family.shares[0], [1, 0, 0, 0])
    np.testing.assert_allclose(family.shares[-1], [0, 0, 0, 1])


def test_no_sample_leaves_earlier_at_a_higher_budget():
    records = make_records(1000, 1)
    family = fit_family(records, [FLOPS])
    before = np.ones(1000)
    for value in np.linspace(COSTS[0], COSTS[-1], 60):
        thresholds = family.settings(Budget(float(value))).thresholds
        exits = simulate(records, family.params, thresholds)
        assert (exits >= before).all()
        before = exits


@given(
    samples=st.integers(2, 60),
    values=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    policy=st.sampled_from(ALL),
)
@settings(deadline=None, max_examples=60)
def test_any_records_give_a_sound_family(samples, values, seed, policy):
    rng = np.random.default_rng(seed)
    features = rng.integers(-values, values, (samples, 3, 6)).astype(np.float32)
    features[:, :, 0] = 1
    quality = rng.integers(0, 2, (samples, 4)).astype(np.float32)
    soft = rng.random((samples, 4)).astype(np.float32)
    records = ExitRecords(features, soft, quality, "accuracy", None, CONFIDENCE, 1.0, "")
    family = fit_family(records, [FLOPS], policy=policy)
    assert np.isfinite(family.thresholds).all()
    assert (np.diff(family.thresholds, axis=0) >= 0).all()
    assert (np.diff(family.curve("flops")) >= 0).all()
    np.testing.assert_allclose(family.shares.sum(axis=1), 1)
    assert family.curve("flops")[[0, -1]] == pytest.approx([COSTS[0], COSTS[-1]])
    text = json.dumps(encode(family), allow_nan=False)
    assert json.loads(text)["policy"] == policy


def test_unlabelled_records_calibrate_on_agreement():
    family = fit_family(make_records(1000, 1, labelled=False), [FLOPS])
    assert family.quality_kind == "agreement"
    assert family.quality[-1] == family.per_exit_quality[-1] == 1.0


def test_patience_snaps_to_the_budget_below():
    records = make_records(1000, 1, PATIENCE)
    family = fit_family(records, [FLOPS], policy="patience")
    assert family.discrete
    curve = family.curve("flops")
    assert len(np.unique(np.round(curve, 9))) == 4
    between = float(curve[1] + curve[2]) / 2
    cost, _ = realised(family, records, Budget(between))
    assert cost == pytest.approx(curve[1])
    assert curve[1] > COSTS[1] - 1e-9  # nobody can agree with a previous exit at exit 1


def test_a_budget_above_what_is_worth_spending_is_still_met():
    records = make_records(2000, 1)
    worth = np.ones_like(records.quality)
    worth[::10, -1] = 0  # exit 1 is always right, the last one is not
    records = replace(records, quality=worth, soft=worth)
    family = fit_family(records, [FLOPS], policy="gain-soft")
    assert not family.discrete
    for budget in (0.3, 0.5, 0.7):
        assert realised(family, records, Budget(budget))[0] == pytest.approx(budget, abs=0.002)


def test_budgets_between_tied_scores_snap_down():
    records = make_records(2000, 1, CONFIDENCE)
    features = records.features.copy()
    features[::2, :, 1:] = features[0, :, 1:]  # half of the samples look alike
    tied = replace(records, features=features)
    family = fit_family(tied, [FLOPS], policy="single")
    assert family.discrete
    curve = family.curve("flops")
    leap = int(np.argmax(np.diff(curve)))
    between = Budget(float(curve[leap] + curve[leap + 1]) / 2)
    assert realised(family, tied, between)[0] == pytest.approx(curve[leap])
    assert not fit_family(records, [FLOPS], policy="single").discrete


def test_the_shape_is_fitted_at_the_budget():
    records = make_records(2000, 1)
    free = fit_family(records, [FLOPS])
    at_middle = fit_family(records, [FLOPS], budget=Budget((COSTS[0] + COSTS[-1]) / 2))
    cheap = fit_family(records, [FLOPS], budget=Budget(0.3))
    assert free.params == at_middle.params != cheap.params
    assert cheap.budget == Budget(0.3)


def test_latency_and_flops_side_by_side():
    records = make_records(1000, 1)
    latency = CostTable("latency", (2.0, 3.0, 6.0, 11.0), 10.0, "here")
    family = fit_family(records, [latency, FLOPS], budget=Budget(5.0, "latency"))
    for budget in (Budget(5.0, "latency"), Budget(0.5)):
        cost, _ = realised(family, records, budget)
        assert cost == pytest.approx(budget.value, rel=0.02)


def test_a_sample_fits_the_shape_and_all_records_the_curve(monkeypatch):
    records = make_records(3000, 1)
    monkeypatch.setattr("edgeexit.calibrate.family.SHAPE_SAMPLES", 500)
    family = fit_family(records, [FLOPS])
    assert family.samples == 3000
    cost, _ = realised(family, records, Budget(0.5))
    assert cost == pytest.approx(0.5, abs=0.01)


def test_budgets_and_tables_that_do_not_fit():
    records = make_records(200, 1)
    with pytest.raises(BudgetError, match=r"first exit costs 0.22, always at the last 1.02"):
        fit_family(records, [FLOPS], budget=Budget(0.1))
    with pytest.raises(BudgetError, match="budget 8 ms is of kind latency, but there are only"):
        fit_family(records, [FLOPS], budget=Budget(8, "latency"))
    with pytest.raises(InputError, match="flops costs are of 2 exits, the records of 4"):
        fit_family(records, [CostTable("flops", (0.2, 1.0), 1.0)])
    with pytest.raises(InputError, match="there is no cost table"):
        fit_family(records, [])


def test_one_gate_is_enough():
    records = make_records(500, 1)
    two = replace(
        records,
        features=records.features[:, :1],
        soft=records.soft[:, [0, 3]],
        quality=records.quality[:, [0, 3]],
    )
    for policy in ALL:
        family = fit_family(two, [CostTable("flops", (0.3, 1.02), 1.0)], policy=policy)
        cost, _ = realised(family, two, Budget(0.6))
        assert cost == pytest.approx(0.6, abs=0.01)

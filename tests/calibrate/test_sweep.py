"""Sweeps: judged out of sample, with honest bands, an oracle and a verdict."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate.bootstrap import band, resampled_means
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.family_loss import family_losses
from edgeexit.calibrate.nesting import simulate
from edgeexit.calibrate.oracle import oracle_quality
from edgeexit.calibrate.policies.soft import targets
from edgeexit.calibrate.sweep import REFITTED, UNNESTED, sweep
from edgeexit.calibrate.unnested import best_settings
from edgeexit.calibrate.verdict import judge
from tests.calibrate.synthetic import COSTS, PATIENCE, make_records

FLOPS = CostTable("flops", COSTS, 1.0)


@pytest.fixture(scope="module")
def found():
    return sweep(make_records(3000, 1), FLOPS)


def test_all_policies_meet_all_budgets_on_samples_they_were_not_fitted_on(found):
    assert next(iter(found.points)) == "gain-soft"
    assert set(found.points) == {
        "gain-soft", "opt-soft", "opt", "geometric", "eero", "single", "margin", "entropy",
        "energy", REFITTED, UNNESTED,
    }  # fmt: skip
    assert found.left_out == ("patience", "q-exit", "jei-dnn")
    values = [budget.value for budget in found.budgets]
    np.testing.assert_allclose(values, np.arange(0.25, 1.01, 0.05))
    for points in found.points.values():
        assert [point.budget.value for point in points] == values
        np.testing.assert_allclose([point.cost for point in points], values, atol=0.02)
        assert all(point.low <= point.quality <= point.high for point in points)


def test_bands_cover_the_truth(found):
    truth = make_records(20_000, 2)
    for exit_index in range(4):
        quality, low, high = found.per_exit[exit_index]
        assert low < quality < high
        assert low - 0.01 < truth.quality[:, exit_index].mean() < high + 0.01


def test_the_oracle_is_above_all_and_leads_are_paired(found):
    for points in found.points.values():
        quality = np.array([point.quality for point in points])
        assert (quality <= np.array(found.oracle) + 1e-9).all()
    assert all(point.lead == 0 == point.lead_high for point in found.points["gain-soft"])
    for name in ("single", "geometric"):
        for mine, default in zip(found.points[name], found.points["gain-soft"], strict=True):
            assert mine.lead == pytest.approx(100 * (mine.quality - default.quality))
            assert mine.lead_low <= mine.lead <= mine.lead_high


def test_the_oracle_is_the_best_of_all_choices():
    rng = np.random.default_rng(3)
    quality = rng.integers(0, 2, (5, 3)).astype(np.float32)
    costs = np.array([0.2, 0.5, 1.1])
    choices = list(itertools.product(range(3), repeat=5))
    spent = np.array([costs[list(each)].mean() for each in choices])
    worth = np.array([quality[np.arange(5), list(each)].mean() for each in choices])
    for budget in np.unique(spent):
        best = worth[spent <= budget + 1e-12].max()
        assert oracle_quality(quality, costs, np.array([budget]))[0] >= best - 1e-6
    total = quality.max(axis=1).mean()
    assert oracle_quality(quality, costs, np.array([1.1]))[0] == pytest.approx(total)
    assert oracle_quality(quality, costs, np.array([0.2]))[0] == pytest.approx(quality[:, 0].mean())


def test_a_whole_group_is_resampled_at_once():
    values = np.repeat(np.random.default_rng(0).normal(size=(30, 1)), 40, axis=0)
    by_sample = resampled_means(values, np.arange(1200)).std()
    by_group = resampled_means(values, np.repeat(np.arange(30), 40)).std()
    assert by_group == pytest.approx(values.std() / np.sqrt(30), rel=0.15)
    assert by_sample == pytest.approx(values.std() / np.sqrt(1200), rel=0.15)
    low, high = band(np.linspace(0, 100, 1001)[:, None])
    assert (low[0], high[0]) == pytest.approx((2.5, 97.5))


def test_groups_are_halved_whole():
    records = replace(make_records(600, 1), group=np.arange(600) % 40)
    found = sweep(records, FLOPS)
    assert (found.unit, found.units, found.samples) == ("group", 40, 600)


def test_a_patience_gate_leaves_the_others_out():
    found = sweep(make_records(600, 1, PATIENCE), FLOPS)
    assert list(found.points) == ["patience"]
    assert "gain-soft" in found.left_out
    assert judge(found, 0.5).choice in ("static", "exits", "cut")


def test_early_exits_are_advised_where_they_save(found):
    verdict = judge(found, 0.5)
    assert verdict.choice == "exits"
    assert verdict.policy == "gain-soft"
    assert verdict.relative < 0.72  # what a model cut at exit 3 costs, which loses little as well
    assert found.per_exit[-1, 0] - verdict.quality <= 0.005
    cheaper = [p for p in found.points["gain-soft"] if p.cost < verdict.point.cost]
    assert all(found.per_exit[-1, 0] - point.quality > 0.005 for point in cheaper)


def test_a_cut_model_is_advised_where_exits_add_nothing():
    records = make_records(1000, 1)
    quality = records.quality.copy()
    quality[:, 1:] = quality[:, :1]
    verdict = judge(sweep(replace(records, quality=quality), FLOPS), 0.5)
    assert (verdict.choice, verdict.exit, verdict.relative) == ("cut", 1, 0.22)
    assert verdict.truncate == 1


def test_the_static_model_is_advised_where_nothing_can_be_lost():
    records = make_records(1000, 1)
    quality = np.zeros_like(records.quality)
    quality[:, -1] = 1
    verdict = judge(sweep(replace(records, quality=quality, soft=quality), FLOPS), 0.5)
    assert (verdict.choice, verdict.relative, verdict.truncate) == ("static", 1.0, 4)


def test_what_to_truncate_at_counts_the_exits_of_the_model_that_was_compiled():
    records = make_records(1000, 1)
    quality = records.quality.copy()
    quality[:, 2:] = quality[:, 1:2]
    swept = sweep(replace(records, quality=quality), FLOPS)
    verdict = judge(swept, 0.5, (1, 3, 6, 7))
    assert (verdict.choice, verdict.exit, verdict.truncate) == ("cut", 2, 3)


def test_no_policy_that_cannot_be_shipped_is_called_better(found):
    ahead = {
        name: tuple(replace(p, lead=9.0, lead_low=8.0) for p in points)
        for name, points in found.points.items()
        if name in (REFITTED, UNNESTED, "eero")
    }
    points = found.points | ahead
    assert judge(replace(found, points=points), 0.5).better == "eero"


def test_what_one_family_loses_is_said(found):
    shape, thresholds = family_losses(found)
    assert (shape.what, thresholds.what) == ("shape", "thresholds")
    for loss, name in ((shape, REFITTED), (thresholds, UNNESTED)):
        leads = [point.lead for point in found.points[name]]
        assert loss.mean == pytest.approx(np.mean(leads))
        assert loss.most == max(leads)
        assert found.points[name][leads.index(loss.most)].budget.value == loss.budget
        assert loss.low <= loss.most <= loss.high
        assert abs(loss.mean) < 0.3
    assert family_losses(sweep(make_records(200, 1, PATIENCE), FLOPS)) == ()


def test_free_thresholds_meet_the_budget_they_were_fitted_at():
    records = make_records(3000, 1)
    family = fit_family(records, [FLOPS], budget=Budget(0.5))
    for value in (0.25, 0.5, 0.9):
        settings = best_settings(records, family, FLOPS, Budget(value))
        exits = simulate(records, family.params, settings.thresholds)
        assert np.asarray(COSTS)[exits - 1].mean() == pytest.approx(value, abs=2e-3)


def test_free_thresholds_are_no_worse_on_what_they_were_fitted_on():
    """At one budget nothing beats the best thresholds, but for what lies between two prices."""
    records = make_records(3000, 1)
    family = fit_family(records, [FLOPS], budget=Budget(0.5))
    reward = targets(records)
    worth = {}
    for name, settings in (
        ("nested", family.settings(Budget(0.5))),
        ("free", best_settings(records, family, FLOPS, Budget(0.5))),
    ):
        exits = simulate(records, family.params, settings.thresholds)
        worth[name] = reward[np.arange(len(records)), exits - 1].mean()
    assert worth["free"] >= worth["nested"] - 5e-4

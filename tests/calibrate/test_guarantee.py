"""Certified budgets: rarely exceeded, nearly used up, refused where data cannot bear them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.bundle.exits_file import exits_bytes, parse_exits
from edgeexit.calibrate import point_at, recommend, simulate
from edgeexit.calibrate.costs import upper_costs
from edgeexit.calibrate.guarantee import SHAPE_SHARE, fit_certified_family
from edgeexit.calibrate.promise import Promise
from edgeexit.calibrate.records import ExitRecords
from edgeexit.errors import BudgetError, InputError
from tests.calibrate.synthetic import CONFIDENCE, COSTS, PATIENCE, make_records

FLOPS = CostTable("flops", COSTS, 1.0)
HALF = Budget(0.5)


def promise(*budgets, confidence=0.95, iid=True, max_drop=None):
    return Promise(confidence, iid, tuple(Budget(value) for value in budgets), max_drop)


def drawn(samples, seed, pool=20_000):
    records = make_records(pool, 2)
    return records.take(np.random.default_rng(seed).integers(0, pool, samples))


def true_cost(family, budget=HALF):
    """Mean cost over the whole pool that draws are taken from."""
    pool = make_records(20_000, 2)
    exits = simulate(pool, family.params, family.settings(budget).thresholds)
    return float(np.array(COSTS)[exits - 1].mean())


def test_a_certified_budget_is_rarely_exceeded_at_few_samples():
    costs = [
        true_cost(fit_certified_family(drawn(200, seed), [FLOPS], promise(0.5), seed=seed))
        for seed in range(60)
    ]
    assert sum(cost > 0.5 for cost in costs) <= 7  # 3 expected at most; 8 have odds of 1 : 70
    assert np.mean(costs) > 0.44


def test_most_of_a_certified_budget_is_used():
    costs = [
        true_cost(fit_certified_family(drawn(1000, seed), [FLOPS], promise(0.5), seed=seed))
        for seed in range(12)
    ]
    assert np.mean(costs) > 0.94 * 0.5
    assert sum(cost > 0.5 for cost in costs) <= 2


def test_unlabelled_data_bring_the_cost_nearer_to_the_budget():
    labelled, further = drawn(300, 1), drawn(20_000, 2)
    alone = fit_certified_family(labelled, [FLOPS], promise(0.5))
    helped = fit_certified_family(labelled, [FLOPS], promise(0.5), unlabelled=further)
    assert true_cost(alone) < true_cost(helped)
    assert 0.49 < true_cost(helped) <= 0.5
    assert helped.certificate.unlabelled == 20_000
    assert helped.certificate.units == 210 + 20_000
    assert helped.samples == 300


def test_the_dial_snaps_down_to_certified_budgets():
    family = fit_certified_family(drawn(2000, 1), [FLOPS], promise(0.5, 0.3))
    values = [entry.budget.value for entry in family.certificate.budgets]
    assert values == [COSTS[0], 0.3, 0.5, COSTS[-1]]
    for asked, kept in ((0.5, 0.5), (0.64, 0.5), (0.49, 0.3), (0.25, COSTS[0]), (COSTS[-1], 1.02)):
        same = family.settings(Budget(kept)).thresholds
        np.testing.assert_array_equal(family.settings(Budget(asked)).thresholds, same)
    with pytest.raises(BudgetError, match="outside what this model can do"):
        family.settings(Budget(0.1))
    assert family.budget == HALF


def test_without_a_budget_every_tenth_is_certified_and_one_recommended():
    family = fit_certified_family(drawn(4000, 1), [FLOPS], promise(max_drop=2.0))
    values = [entry.budget.value for entry in family.certificate.budgets]
    np.testing.assert_allclose(values, [0.22, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.02])
    assert family.budget is None
    point = recommend(family, "flops", 2.0)
    keeping = [
        entry.budget
        for entry in family.certificate.budgets
        if family.certificate.keeps_drop(entry.position)
    ]
    assert point.budget == keeping[0]
    pool = make_records(20_000, 2)
    exits = simulate(pool, family.params, family.settings(point.budget).thresholds)
    quality = pool.quality[np.arange(len(pool)), exits - 1].mean()
    assert pool.quality[:, -1].mean() - quality <= 0.02


def test_a_drop_that_is_too_small_is_certified_only_where_nothing_is_lost():
    family = fit_certified_family(drawn(400, 1), [FLOPS], promise(0.5, max_drop=0.0))
    assert not family.certificate.keeps_drop(family.position(HALF))
    assert family.certificate.keeps_drop(family.position(Budget(COSTS[-1])))


def test_agreement_is_certified_without_labels():
    records = make_records(3000, 1, labelled=False)
    family = fit_certified_family(records, [FLOPS], promise(0.7, max_drop=5.0))
    assert family.quality_kind == "agreement"
    assert family.certificate.keeps_drop(family.position(Budget(0.7)))


def clips(count, frames, seed):
    """Clips whose frames are near each other in score: correlated within, one pool over all."""
    pool = make_records(20_000, 2)
    by_score = np.argsort(pool.features[:, 0, 1], kind="stable")
    rng = np.random.default_rng(seed)
    centre = np.repeat(rng.integers(0, len(pool), count), frames)
    near = by_score[(centre + rng.integers(-200, 200, len(centre))) % len(pool)]
    anywhere = rng.integers(0, len(pool), len(centre))
    rows = np.where(rng.random(len(centre)) < 0.75, near, anywhere)
    return replace(pool.take(rows), group=np.repeat(np.arange(count), frames))


def test_clips_are_bounded_by_clip():
    by_clip, by_frame = [], []
    for seed in range(40):
        records = clips(100, 20, seed)
        alone = replace(records, group=None)
        options = {"iid": False}
        try:
            family = fit_certified_family(records, [FLOPS], promise(0.5, **options), seed=seed)
            by_clip.append(true_cost(family))
        except InputError:
            by_clip.append(COSTS[0])
        by_frame.append(true_cost(fit_certified_family(alone, [FLOPS], promise(0.5), seed=seed)))
    assert np.mean(np.array(by_clip) > 0.5) <= 0.1
    assert np.mean(np.array(by_frame) > 0.5) > 0.1  # what a false --iid leads to


def test_a_clip_that_fitted_the_shape_never_sets_the_knob():
    labelled = clips(60, 10, 1)
    family = fit_certified_family(
        labelled, [FLOPS], promise(0.6, iid=False), unlabelled=clips(90, 30, 2)
    )
    # Clips 0 to 59 are in both: 18 of them fit the shape, 42 and 30 new ones set the knob.
    assert round(60 * SHAPE_SHARE) == 18
    assert family.certificate.units == 42 + 30
    assert family.certificate.unlabelled == 30 * (42 + 30)
    assert family.certificate.unit == "group"


def test_few_settings_take_the_nearest_cost_below():
    records = make_records(2000, 1, PATIENCE)
    family = fit_certified_family(records, [FLOPS], promise(0.8), policy="patience")
    point = point_at(family, Budget(0.8))
    assert float(point.cost) < 0.8
    assert family.position(Budget(0.8)) == int(family.position(Budget(0.8)))
    # Nobody agrees with a previous exit at exit 1, so there is nothing between c_1 and c_2.
    low = fit_certified_family(records, [FLOPS], promise(0.3), policy="patience")
    assert point_at(low, Budget(0.3)).cost == pytest.approx(COSTS[0])


def test_error_bars_of_measured_costs_are_carried_through():
    records = drawn(2000, 1)
    exact = CostTable("latency", (2.0, 3.0, 6.0, 11.0), 10.0, "here")
    rough = replace(exact, errors=(0.1, 0.1, 0.2, 0.3))
    wanted = Promise(0.95, True, (Budget(5.0, "latency"),))
    shares = {}
    for name, table in (("exact", exact), ("rough", rough)):
        family = fit_certified_family(records, [table, FLOPS], wanted)
        shares[name] = point_at(family, Budget(5.0, "latency"))
    # 0.05 / 10 / 4: a normal deviate of 3.02 for each of four costs.
    assert upper_costs(rough, 0.005)[0] == pytest.approx(2.0 + 3.0233 * 0.1, abs=1e-3)
    upper = upper_costs(rough, 0.005)
    assert float(np.dot(shares["rough"].shares, upper)) < 5.0
    assert shares["rough"].cost < shares["exact"].cost - 0.2
    with pytest.raises(BudgetError, match=r"always at the first exit costs 2.302"):
        fit_certified_family(records, [rough], Promise(0.95, True, (Budget(2.2, "latency"),)))


def test_costs_rise_even_where_their_upper_ends_cross():
    table = CostTable("latency", (1.0, 1.1), 1.0, "here", (0.5, 0.0))
    np.testing.assert_allclose(upper_costs(table, 0.005), [1.0 + 0.5 * 2.807, 2.4035], atol=1e-3)


def test_what_is_independent_must_be_said():
    with pytest.raises(InputError, match="do not say which samples are independent") as caught:
        fit_certified_family(drawn(300, 1), [FLOPS], promise(0.5, iid=False))
    assert caught.value.code == "guarantee.unit"
    assert "--iid" in caught.value.hint
    with pytest.raises(InputError, match="the data have groups"):
        fit_certified_family(clips(30, 5, 1), [FLOPS], promise(0.5))
    with pytest.raises(InputError, match="only one of the labelled and the unlabelled"):
        fit_certified_family(
            clips(30, 5, 1), [FLOPS], promise(0.5, iid=False), unlabelled=drawn(300, 1)
        )


@pytest.mark.parametrize("confidence", [0.3, 1.0, 95.0, float("nan")])
def test_a_confidence_out_of_range(confidence):
    with pytest.raises(InputError, match=r"confidence of .* is out of range: 0.5 to below 1"):
        fit_certified_family(drawn(300, 1), [FLOPS], promise(0.5, confidence=confidence))


def test_a_drop_out_of_range():
    with pytest.raises(InputError, match="a drop of -1 points cannot be certified"):
        fit_certified_family(drawn(300, 1), [FLOPS], promise(0.5, max_drop=-1.0))


def test_a_budget_below_the_first_exit():
    with pytest.raises(BudgetError, match=r"first exit costs 0.22"):
        fit_certified_family(drawn(300, 1), [FLOPS], promise(0.2))


def test_too_few_samples_say_how_many_would_do():
    small = promise(0.24)
    with pytest.raises(InputError, match=r"42 samples are too few to certify 0.24") as caught:
        fit_certified_family(drawn(60, 1), [FLOPS], small)
    assert caught.value.code == "guarantee.samples"
    wanted = int(re.search(r"about (\d+) would do", caught.value.message)[1])
    labelled = int(re.search(r"give (\d+) labelled samples", caught.value.hint)[1])
    assert labelled == pytest.approx(wanted / 0.7, abs=1)
    worked = 0
    for seed in range(8):
        records = drawn(labelled, 100 + seed)
        worked += 0.24 in {
            entry.budget.value
            for entry in fit_certified_family(
                records, [FLOPS], small, seed=seed
            ).certificate.budgets
        }
    assert worked == 8


def test_too_few_samples_for_what_is_only_estimated_say_so():
    energy = CostTable("energy", tuple(40 * cost for cost in COSTS), 40.0, "here", estimated=True)
    small = Promise(0.95, True, (Budget(9.6, "energy"),), None)
    with pytest.raises(InputError, match=r"too few to certify 9.6 mJ \(estimated\) with"):
        fit_certified_family(drawn(60, 1), [energy], small)


def test_too_few_groups():
    few = replace(drawn(300, 1), group=np.arange(300) % 3)
    with pytest.raises(InputError, match="3 groups cannot be split"):
        fit_certified_family(few, [FLOPS], promise(0.5, iid=False))
    some = replace(drawn(300, 1), group=np.arange(300) % 12)
    with pytest.raises(InputError, match=r"8 groups are too few to certify 0.5"):
        fit_certified_family(some, [FLOPS], promise(0.5, iid=False))


@given(
    samples=st.integers(8, 70),
    values=st.integers(1, 4),
    groups=st.integers(0, 12),
    budget=st.floats(0.23, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=40)
def test_any_records_give_a_certificate_or_a_refusal(samples, values, groups, budget, seed):
    rng = np.random.default_rng(seed)
    features = rng.integers(-values, values, (samples, 3, 6)).astype(np.float32)
    features[:, :, 0] = 1
    quality = rng.integers(0, 2, (samples, 4)).astype(np.float32)
    soft = rng.random((samples, 4)).astype(np.float32)
    group = rng.integers(0, groups, samples) if groups else None
    records = ExitRecords(features, soft, quality, "accuracy", group, CONFIDENCE, 1.0, "")
    refused = None
    try:
        family = fit_certified_family(
            records, [FLOPS], promise(budget, iid=not groups, max_drop=50.0)
        )
    except InputError as error:
        refused = error.code
    assert refused in (None, "guarantee.samples")
    if refused:
        return
    read = parse_exits(exits_bytes(family), "exits.json")
    assert read.certificate == family.certificate
    assert point_at(family, Budget(budget)).cost <= COSTS[-1]

"""What each policy fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.calibrate.nesting import gate_scores, measure
from edgeexit.calibrate.policies import POLICIES, find_policy
from edgeexit.calibrate.policies.confidence import confidence
from edgeexit.calibrate.policies.eero import SHARPNESS, STEPS, exit_fractions
from edgeexit.calibrate.policies.fractions import fraction_thresholds, quantile_rule
from edgeexit.calibrate.policies.lagrangian import Search, priced_thresholds
from edgeexit.calibrate.policies.regression import Design, sigmoid
from edgeexit.calibrate.policies.soft import targets, trusts_soft
from edgeexit.cli.calibrate import POLICY_NAMES
from edgeexit.errors import InputError
from tests.calibrate.synthetic import CONFIDENCE, COSTS, PATIENCE, STATISTICS, make_records

OWN_GATES = ("patience", "q-exit", "jei-dnn")


def test_registry():
    assert tuple(POLICIES) == POLICY_NAMES
    assert all(find_policy(name).name == name for name in POLICIES)
    with pytest.raises(InputError, match="no exit policy 'magic'; there are gain-soft, opt-soft"):
        find_policy("magic")
    with pytest.raises(TypeError):
        POLICIES["mine"] = POLICIES["geometric"]


@pytest.mark.parametrize("policy", [name for name in POLICIES if name not in OWN_GATES])
def test_a_gate_that_a_policy_cannot_use(policy):
    with pytest.raises(InputError) as error:
        find_policy(policy).fit(make_records(200, 1, PATIENCE), np.array(COSTS), 0.5)
    assert error.value.code == "policy.gate"
    assert "gate 'patience'; it needs statistics or confidence" in error.value.message


@pytest.mark.parametrize("policy", OWN_GATES)
def test_some_policies_need_a_gate_of_their_own(policy):
    with pytest.raises(InputError, match="cannot use this model's gate 'statistics'") as error:
        find_policy(policy).fit(make_records(200, 1), np.array(COSTS), 0.5)
    assert f"--gate {policy}" in error.value.hint


def test_patience_rows_are_counts():
    shape = find_policy("patience").fit(make_records(800, 1, PATIENCE), np.array(COSTS), 0.5)
    far = float(np.float32(1e30))
    np.testing.assert_array_equal(shape.thresholds[:, 0], [-far, 0.5, 1.5, far])
    assert (shape.thresholds == shape.thresholds[:, :1]).all()
    assert shape.params == ((1.0, 1.0),) * 3


@pytest.mark.parametrize("policy", ["opt-soft", "opt", "geometric", "eero", "single"])
def test_confidence_policies_weigh_log_odds_alone(policy):
    shape = find_policy(policy).fit(make_records(800, 1), np.array(COSTS), 0.5)
    assert shape.params == ((1.0, 0.0, 1.0) + (0.0,) * 8,) * 3


def test_gain_soft_gives_no_weight_to_what_exit_1_does_not_know():
    shape = find_policy("gain-soft").fit(make_records(800, 1), np.array(COSTS), 0.5)
    first, second = shape.params[:2]
    assert first[7:] == (0.0,) * 4
    assert first[0] == second[0] == 1.0
    assert all(abs(weight) > 0 for weight in second[7:])
    assert first[6] == second[6] == 0.0  # energy is no predictor


def test_gain_soft_works_on_the_features_there_are():
    shape = find_policy("gain-soft").fit(make_records(800, 1, CONFIDENCE), np.array(COSTS), 0.5)
    assert [len(vector) for vector in shape.params] == [7, 7, 7]


def test_gain_soft_stops_at_no_gain_at_the_reference_budget():
    records = make_records(4000, 1)
    for reference, spent in ((0.35, 0.35), (0.5, 0.5), (0.9, 0.718)):
        # Even for free nothing is gained by spending more than 0.718 here.
        shape = find_policy("gain-soft").fit(records, np.array(COSTS), reference)
        leaving = gate_scores(records, shape.params) >= 0
        exits = np.where(leaving.any(axis=1), leaving.argmax(axis=1), 3)
        assert np.mean(np.array(COSTS)[exits]) == pytest.approx(spent, abs=0.003)


def test_quantile_rule_by_hand():
    scores = np.float32([[9, 1], [8, 2], [7, 3], [6, 4], [5, 9]])
    held, left = quantile_rule(scores, np.array([0.4, 0.2, 0.4]))
    # 9 and 8 leave; of the rest, the last has the highest second score.
    np.testing.assert_allclose(left, [0.4, 0.2])
    np.testing.assert_allclose(held, [0.6, 0.8])


def test_quantile_rule_where_nobody_leaves():
    held, left = quantile_rule(np.float32([[1, 1], [2, 2]]), np.array([1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(held, [0.0, 1.0])
    np.testing.assert_array_equal(left, [1.0, 0.0])


def test_soft_labels_are_trusted_only_where_the_last_exit_deserves_it():
    records = make_records(4000, 1)
    assert trusts_soft(records)
    assert targets(records) is records.soft
    overconfident = replace(records, soft=np.sqrt(np.sqrt(np.sqrt(records.soft))) * 0.5)
    assert not trusts_soft(overconfident)
    beaten = records.quality.copy()
    beaten[:, 1] = np.maximum(records.quality[:, 3], np.arange(4000) % 20 == 0)
    assert targets(replace(records, quality=beaten)) is beaten
    unlabelled = replace(overconfident, quality_kind="agreement")
    assert trusts_soft(unlabelled)


def test_regressions_find_what_made_the_data():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(20_000, 3)) * [1, 50, 0] + [0, 1000, 3]).astype(np.float32)
    design = Design.of(features)
    signal = 0.5 - 1.0 * features[:, 0] + 0.02 * (features[:, 1].astype(float) - 1000)
    intercept, slopes = design.raw(design.linear(signal))
    np.testing.assert_allclose(slopes, [-1, 0.02, 0], atol=1e-4)
    assert intercept == pytest.approx(-19.5, abs=0.02)
    intercept, slopes = design.raw(design.logistic(sigmoid(signal)))
    np.testing.assert_allclose(slopes, [-1, 0.02, 0], atol=2e-3)
    assert intercept == pytest.approx(-19.5, abs=0.1)


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_logistic_regression_survives_targets_all_alike(target):
    design = Design.of(np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32))
    probability = sigmoid(design.matrix @ design.logistic(np.full(500, target)))
    np.testing.assert_allclose(probability, target, atol=1e-3)


def test_thresholds_for_a_price_by_hand():
    # Exit 1 is right on the three surest samples, exit 2 on all but the first.
    scores = np.float32([[6], [5], [4], [3], [2], [1]])
    reward = np.array([[1, 0], [1, 1], [1, 1], [0, 1], [0, 1], [0, 1]], dtype=float)
    search = Search(scores, reward, np.array([0.4, 1.0]))
    # At price 1 leaving gains 0.6 + y_1 - y_2: 1.6, 0.6, 0.6, -0.4, -0.4, -0.4.
    held, reach, cost = search.solve(1.0)
    assert held == pytest.approx([0.5])
    assert reach == pytest.approx([1.0])
    assert cost == pytest.approx(0.7)
    # At price 2 it gains 1.2 + y_1 - y_2 > 0 for all.
    assert search.solve(2.0)[2] == pytest.approx(0.4)
    # At price -0.1 it gains 0.94, -0.06, ...: the sum peaks at the first sample.
    assert search.solve(-0.1)[2] == pytest.approx((0.4 + 5 * 1.0) / 6)


def test_a_hard_search_is_best_on_what_it_was_fitted_on():
    records = make_records(2000, 1)
    costs = np.array(COSTS)
    _, scores = confidence(records)
    for name in ("geometric", "eero", "single"):
        other = find_policy(name).fit(records, costs, 0.5).thresholds
        table = priced_thresholds(scores, records.quality.astype(float), costs)
        found = []
        for rows in (table, other):
            shares, quality = measure(scores, rows, records.quality)
            found.append(np.interp((0.35, 0.5, 0.65), shares @ costs, quality))
        assert (found[0] >= found[1] - 1e-3).all()


def test_exponential_weights_by_hand():
    fractions = exit_fractions(np.array([0.3, 0.1]), np.array([0.4, 1.0]), 0.1)
    assert fractions.shape == (STEPS, 2)
    np.testing.assert_allclose(fractions.sum(axis=1), 1)
    # Without a price of cost: exp(-3) : exp(-1).
    np.testing.assert_allclose(fractions[STEPS // 2], [0.119203, 0.880797], atol=1e-6)
    assert (np.diff(fractions @ [0.4, 1.0]) >= 0).all()
    assert fractions[0, 0] > 1 - 1e-9
    assert fractions[-1, 1] > 1 - 1e-9


def test_eero_takes_the_sharpness_that_answers_best():
    records, costs = make_records(2000, 1), np.array(COSTS)
    chosen = find_policy("eero").fit(records, costs, 0.5).thresholds
    _, scores = confidence(records)
    risk = 1 - records.quality.mean(axis=0, dtype=float)
    found = {}
    for beta in SHARPNESS:
        table = fraction_thresholds(scores, exit_fractions(risk, costs, beta), costs)
        shares, quality = measure(scores, table, records.quality)
        found[beta] = np.interp(0.5, np.maximum.accumulate(shares @ costs), quality)
    shares, quality = measure(scores, chosen, records.quality)
    mine = np.interp(0.5, np.maximum.accumulate(shares @ costs), quality)
    assert mine in found.values()
    assert mine >= max(found.values()) - 0.002


@pytest.mark.parametrize(
    ("policy", "feature", "sign"),
    [
        ("single", "log_odds", 1),
        ("margin", "margin", 1),
        ("entropy", "entropy", -1),
        ("energy", "energy", 1),
    ],
)
def test_one_criterion_against_one_number(policy, feature, sign):
    records = make_records(800, 1)
    shape = find_policy(policy).fit(records, np.array(COSTS), 0.5)
    column = STATISTICS.features.index(feature)
    scores = gate_scores(records, shape.params)
    np.testing.assert_allclose(scores, sign * records.features[:, :, column], rtol=1e-6)
    # One number for all gates, up to the gap between two neighbouring scores of each.
    for row in shape.thresholds[2:-2:40]:
        parted = np.count_nonzero(scores >= row.astype(np.float32), axis=0)
        assert any(
            np.abs(parted - np.count_nonzero(scores >= number, axis=0)).max() <= 1 for number in row
        )

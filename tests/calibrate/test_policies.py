"""What each policy fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.calibrate.nesting import gate_scores
from edgeexit.calibrate.policies import POLICIES, find_policy
from edgeexit.calibrate.policies.geometric import quantile_rule
from edgeexit.calibrate.policies.regression import Design, sigmoid
from edgeexit.calibrate.policies.soft import targets, trusts_soft
from edgeexit.errors import InputError
from tests.calibrate.synthetic import CONFIDENCE, COSTS, PATIENCE, make_records


def test_registry():
    assert list(POLICIES) == ["gain-soft", "opt-soft", "geometric", "patience"]
    assert all(find_policy(name).name == name for name in POLICIES)
    with pytest.raises(InputError, match="no exit policy 'magic'; there are gain-soft, opt-soft"):
        find_policy("magic")
    with pytest.raises(TypeError):
        POLICIES["mine"] = POLICIES["geometric"]


@pytest.mark.parametrize("policy", ["gain-soft", "opt-soft", "geometric"])
def test_a_gate_that_a_policy_cannot_use(policy):
    with pytest.raises(InputError) as error:
        find_policy(policy).fit(make_records(200, 1, PATIENCE), np.array(COSTS), 0.5)
    assert error.value.code == "policy.gate"
    assert "gate 'patience'; it needs statistics or confidence" in error.value.message


def test_patience_needs_its_gate():
    with pytest.raises(InputError, match="cannot use this model's gate 'statistics'"):
        find_policy("patience").fit(make_records(200, 1), np.array(COSTS), 0.5)


def test_patience_rows_are_counts():
    shape = find_policy("patience").fit(make_records(800, 1, PATIENCE), np.array(COSTS), 0.5)
    far = float(np.float32(1e30))
    np.testing.assert_array_equal(shape.thresholds[:, 0], [-far, 0.5, 1.5, far])
    assert (shape.thresholds == shape.thresholds[:, :1]).all()
    assert shape.params == ((1.0, 1.0),) * 3


@pytest.mark.parametrize("policy", ["opt-soft", "geometric"])
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
    for reference, spent in ((0.35, 0.35), (0.5, 0.5), (0.9, 0.74)):
        # Even for free nothing is gained by spending more than 0.74 here.
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

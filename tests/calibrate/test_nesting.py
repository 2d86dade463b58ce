"""Nested families: every row against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeexit.calibrate.nesting import (
    at_ranks,
    between,
    gate_scores,
    isotonic,
    leave,
    measure,
    nest,
    path_rows,
    shared_rows,
    simulate,
)
from tests.calibrate.synthetic import STATISTICS, make_records

# Few values, so that ties are common; and any float32.
VALUES = st.one_of(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0]), st.floats(-1e6, 1e6, width=32))
SCORES = st.tuples(st.integers(1, 40), st.integers(1, 5)).flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=VALUES)
)


def check_family(table, scores):
    """Hold a table against the contract of a family, sample by sample."""
    samples, gates = scores.shape
    assert np.isfinite(table).all()
    np.testing.assert_array_equal(table, table.astype(np.float32))
    assert (np.diff(table, axis=0) >= 0).all()
    exits = np.stack([leave(scores, row.astype(np.float32)) for row in table])
    assert (np.diff(exits, axis=0) >= 0).all()
    assert (exits[0] == 0).all()
    assert (exits[-1] == gates).all()
    quality = np.linspace(0, 1, samples * (gates + 1)).reshape(samples, -1).astype(np.float32)
    shares, mean = measure(scores, table, quality)
    for row, taken in enumerate(exits):
        wanted = np.bincount(taken, minlength=gates + 1) / samples
        np.testing.assert_allclose(shares[row], wanted, atol=1e-12)
        assert mean[row] == pytest.approx(quality[np.arange(samples), taken].mean(), abs=1e-6)


@given(SCORES)
@settings(deadline=None)
def test_shared_rows_nest(scores):
    check_family(shared_rows(scores, np.arange(1.0, scores.shape[1] + 2)), scores)


@given(SCORES, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_path_rows_nest(scores, seed):
    rng = np.random.default_rng(seed)
    inner = np.sort(rng.random((5, scores.shape[1])), axis=0)
    ends = np.zeros((1, scores.shape[1]))
    path = np.concatenate([ends, inner, 1 - ends])
    check_family(path_rows(path, scores, np.arange(1.0, scores.shape[1] + 2)), scores)


@given(hnp.arrays(np.float32, st.integers(1, 30), elements=VALUES))
def test_thresholds_at_ranks_hold_back_that_many(values):
    ascending = np.sort(values)
    ranks = np.arange(len(values) + 1)
    thresholds = at_ranks(ascending, ranks)
    below = (ascending < thresholds[:, None]).sum(axis=1)
    tied = np.searchsorted(ascending, ascending, side="left")
    np.testing.assert_array_equal(below, [*tied, len(values)])


@given(VALUES, VALUES)
def test_a_threshold_between_parts_the_two(one, other):
    low, high = np.float32([min(one, other)]), np.float32([max(one, other)])
    threshold = between(low, high)
    assert low < threshold <= high or low == high == threshold


def test_a_threshold_between_is_midway_and_never_the_lower():
    assert between(np.float32([1]), np.float32([2])) == [1.5]
    one = np.float32([1.0])
    above = np.nextafter(one, np.float32(2))
    np.testing.assert_array_equal(between(one, above), above)


def test_shared_rows_by_hand():
    scores = np.float32([[3, 0], [1, 5], [2, 2]])
    # Highest so far: 3 3, 1 5, 2 2. The second stage costs 1, the third 3.
    table = shared_rows(scores, np.array([1.0, 2.0, 5.0]), rows=7)
    shares, _ = measure(scores, table, np.zeros((3, 3), dtype=np.float32))
    np.testing.assert_array_equal(table[0], np.float32([-1e30, -1e30]))
    np.testing.assert_array_equal(table[-1], np.float32([1e30, 1e30]))
    cost = shares @ [1.0, 2.0, 5.0]
    assert (cost[0], cost[-1]) == (1.0, 5.0)
    # The steps possible: 2 is passed (1 of 3 pays 1), and so on, every stage of its own.
    assert set(np.round(3 * cost).astype(int)) <= {3, 4, 8, 12, 15}
    assert len(np.unique(cost)) >= 4


def test_rows_are_even_in_cost():
    records = make_records(3000, 1)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3000, 3)).astype(np.float32)
    costs = np.array([0.1, 0.3, 0.35, 1.0])
    for table in (
        shared_rows(scores, costs),
        path_rows(np.array([[0.0, 0, 0], [0.3, 0.8, 0.1], [1, 1, 1]]), scores, costs),
    ):
        shares, _ = measure(scores, table, records.quality)
        cost = shares @ costs
        assert 250 <= len(table) <= 257
        assert np.diff(cost).max() < 2 * 0.9 / 256


def test_isotonic_by_hand():
    values = np.array([0.0, 3.0, 1.0, 2.0, 5.0, 4.0])
    found = isotonic(values, np.array([1.0, 1, 1, 1, 1, 3]))
    np.testing.assert_allclose(found, [0, 2, 2, 2, 4.25, 4.25])


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_isotonic_keeps_the_mean_and_what_already_rises(values):
    weights = np.linspace(1, 2, len(values))
    found = isotonic(values, weights)
    assert (np.diff(found) >= 0).all()
    assert found @ weights == pytest.approx(values @ weights, abs=1e-9)
    np.testing.assert_allclose(isotonic(np.sort(values), weights), np.sort(values), atol=1e-12)


def test_nest_gives_way_where_nobody_comes():
    held = np.array([[0.1, 1.0], [0.5, 0.2], [0.9, 0.4]])
    reach = np.array([[1.0, 0.0], [1.0, 0.5], [1.0, 0.9]])
    nested = nest(held, reach)
    np.testing.assert_allclose(nested[:, 1], [0.2, 0.2, 0.4], atol=1e-6)
    np.testing.assert_array_equal(nested[:, 0], held[:, 0])


def test_scores_weigh_features_in_float32():
    records = make_records(500, 2)
    rng = np.random.default_rng(0)
    params = tuple((1.0, *map(float, rng.normal(size=10).astype(np.float32))) for _ in range(3))
    scores = gate_scores(records, params)
    assert scores.dtype == np.float32
    exact = np.einsum("nkf,kf->nk", records.features.astype(float), np.array(params)[:, 1:])
    np.testing.assert_allclose(scores, exact, rtol=1e-5, atol=1e-5)
    assert records.gate is STATISTICS


def test_simulate_counts_exits_from_1():
    records = make_records(500, 2)
    params = (STATISTICS.default_params,) * 3
    confidence = records.features[:, :, 1]
    exits = simulate(records, params, [2.0, 1.0, 0.5])
    for row, taken in zip(confidence, exits, strict=True):
        wanted = [k for k, (s, t) in enumerate(zip(row, (2.0, 1.0, 0.5), strict=True), 1) if s >= t]
        assert taken == (wanted[0] if wanted else 4)
    assert set(exits) == {1, 2, 3, 4}

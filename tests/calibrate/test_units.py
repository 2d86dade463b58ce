"""Units: groups stay whole, and steps are what simulation gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate import fit_family
from edgeexit.calibrate.nesting import gate_scores, leave
from edgeexit.calibrate.units import Steps, in_random_order, split_units, unit_numbers
from tests.calibrate.synthetic import COSTS, make_records


def grouped(samples=600, groups=40, seed=1):
    group = np.random.default_rng(seed).integers(0, groups, samples) * 7
    return replace(make_records(samples, seed), group=group.astype(np.int64))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_no_group_is_in_both_parts(share):
    first, second = split_units(grouped(), share, 3)
    assert not set(first.group) & set(second.group)
    assert len(first) + len(second) == 600
    assert len(np.unique(first.group)) == max(1, min(39, round(40 * share)))


def test_samples_without_groups_are_units():
    first, second = split_units(make_records(200, 1), 0.3, 0)
    assert (len(first), len(second)) == (60, 140)
    parts = unit_numbers([first, second])
    assert len(np.unique(np.concatenate(parts))) == 200


def test_the_seed_alone_decides_the_order():
    units = np.array([30, 10, 30, 20, 10])
    order = in_random_order(units, 5)
    np.testing.assert_array_equal(order, in_random_order(units, 5))
    assert order[0] == order[2]
    assert order[1] == order[4]
    assert sorted(set(order)) == [0, 1, 2]
    assert any((in_random_order(units, seed) != order).any() for seed in range(9))


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_blocks_hold_the_mean_of_each_unit_at_every_row(most):
    records = grouped()
    family = fit_family(records, [CostTable("flops", COSTS, 1.0)], budget=Budget(0.5))
    thresholds, costs = family.thresholds[::16], np.array(COSTS)
    scores = gate_scores(records, family.params)
    order = in_random_order(records.group, 0)
    steps = Steps.of(scores, thresholds, costs, order)
    blocks = list(steps.blocks(most))
    assert len(blocks) <= most
    found = np.concatenate(blocks)
    assert found.shape == (steps.count, len(thresholds))
    for row, limits in enumerate(thresholds.astype(np.float32)):
        each = costs[leave(scores, limits)]
        wanted = [each[order == unit].mean() for unit in range(steps.count)]
        np.testing.assert_allclose(found[:, row], wanted)


def test_a_quality_may_fall_from_exit_to_exit():
    scores = np.float32([[1.0, 5.0], [3.0, 0.0]])
    thresholds = np.array([[0.0, 0.0], [2.0, 4.0], [9.0, 9.0]])
    values = np.array([[0.0, 1.0, -1.0], [1.0, 0.5, 0.25]])
    (found,) = Steps.of(scores, thresholds, values, np.array([0, 1])).blocks(1)
    np.testing.assert_allclose(found, [[0.0, 1.0, -1.0], [1.0, 1.0, 0.25]])

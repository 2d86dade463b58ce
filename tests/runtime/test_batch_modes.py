"""What a budget comes to in single calls, shrinking batches and waiting ones, on made-up times."""

from __future__ import annotations

import numpy as np
import pytest
from families import make_family

from edgeexit.budget import Budget
from edgeexit.runtime.batch_modes import BatchTimes, calibrated_shares, mode_costs
from edgeexit.runtime.compaction import SizeChoice
from tests.runtime.batch_times import made_batch

SHARES = np.array([0.6, 0.25, 0.1, 0.05])
REACH = np.array([1.0, 0.4, 0.15, 0.05])
EVERY = tuple(range(1, 33))


def _batch(size, stage, move=0.0, overhead=0.0):
    """Four stages that take ``stage`` milliseconds each, and a static model that takes as long."""
    return made_batch(size, (stage,) * 4, move=move, overhead=overhead)


def _costs(batches, buckets=EVERY, shares=SHARES):
    return {(c.mode, c.batch): c for c in mode_costs(batches, shares, buckets)}


def test_where_time_grows_with_the_samples_shrinking_costs_what_single_calls_do():
    found = _costs([_batch(size, size) for size in (1, 8, 32)])
    assert found["single", 1].milliseconds == pytest.approx(REACH.sum())
    assert found["single", 1].cost == pytest.approx(0.4)
    for size in (8, 32):
        assert found["compacted", size].milliseconds == pytest.approx(REACH.sum())
        some = 1 - (1 - REACH) ** size
        assert found["whole", size].milliseconds == pytest.approx(some.sum())
        assert found["whole", size].cost == pytest.approx(some.sum() / 4)
    assert found["whole", 32].cost > 0.9


def test_where_time_does_not_grow_a_batch_that_shrinks_is_one_that_waits():
    found = _costs([_batch(size, 5.0, move=1.0) for size in (1, 16)])
    assert found["compacted", 16].milliseconds == pytest.approx(found["whole", 16].milliseconds)
    assert found["whole", 16].milliseconds < found["single", 1].milliseconds / 4


def test_moves_and_what_a_call_costs_beside_its_stages_are_paid():
    plain, dear = (
        _costs([_batch(size, 10 * size, move, more) for size in (1, 2)], buckets=(1, 2))
        for move, more in ((0.0, 0.0), (0.5, 1.0))
    )
    single = dear["single", 1].milliseconds - plain["single", 1].milliseconds
    assert single == pytest.approx(1.0)
    whole = dear["whole", 2].milliseconds - plain["whole", 2].milliseconds
    assert whole == pytest.approx(0.5)
    moved = dear["compacted", 2].milliseconds - plain["compacted", 2].milliseconds - 0.5
    # The batch shrinks once unless both leave together: 1 - sum of squares of the shares.
    assert moved == pytest.approx((1 - (SHARES**2).sum()) * 0.5 / 2)


def test_a_batch_that_shrinks_costs_what_drawn_batches_do():
    """Batches drawn one by one and walked as the router walks them, at times of every kind."""
    sizes = (1, 2, 4, 6, 8)
    milliseconds = {1: 1.0, 2: 1.1, 4: 3.0, 6: 3.1, 8: 5.0}
    batches = [_batch(size, milliseconds[size], move=0.2) for size in sizes]
    choice = SizeChoice(sizes, batches)
    rng = np.random.default_rng(0)
    spent = []
    for exits in rng.choice(4, p=SHARES, size=(20_000, 8)):
        slots, rows, total = choice.first(8), 8, 0.0
        for index in range(4):
            total += choice.stage_ms(index, slots)
            left = int((exits > index).sum())
            if not left:
                break
            if left < rows:
                smaller = choice.after(index, left, slots)
                total += choice.move_ms(index, smaller) if smaller != slots else 0.0
                slots = smaller
            rows = left
        spent.append(total / 8)
    found = BatchTimes(batches, sizes, "compacted", 8).each(SHARES)
    error = np.std(spent) / np.sqrt(len(spent))
    assert found == pytest.approx(np.mean(spent), abs=4 * error)
    assert error < 0.003 * found


def test_everything_at_one_exit_costs_the_same_in_all_modes():
    shares = np.array([0.0, 1.0, 0.0, 0.0])
    found = _costs([_batch(size, size) for size in (1, 4)], shares=shares)
    assert {round(cost.cost, 9) for cost in found.values()} == {0.5}


def test_batches_that_do_not_run_at_once_are_left_out():
    found = _costs([_batch(size, size) for size in (1, 8, 64)])
    assert set(found) == {("single", 1), ("compacted", 8), ("whole", 8)}
    assert set(_costs([_batch(1, 1.0)])) == {("single", 1)}


def test_shares_are_those_of_the_calibrated_budget(toy_bundle):
    family = make_family(toy_bundle)
    low, _, high = (float(cost) for cost in family.curve("flops"))
    np.testing.assert_allclose(
        calibrated_shares(make_family(toy_bundle, budget=Budget(high))), [0, 0, 1]
    )
    np.testing.assert_allclose(
        calibrated_shares(make_family(toy_bundle, budget=Budget(low))), [1, 0, 0]
    )
    assert calibrated_shares(make_family(toy_bundle, budget=None)) is None
    assert calibrated_shares(None) is None

"""What changes between two calibrations of one model, on the same samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate import ExitRecords, GateLayout, Side, compare_exits, fit_family
from edgeexit.calibrate.promise import Promise
from edgeexit.errors import InputError
from tests.calibrate.synthetic import COSTS, make_records, random_feature_logits

TABLE = CostTable("flops", COSTS, 1.0)
GATE = GateLayout("confidence", 1, ("log_odds",), (1.0, 1.0))
ANSWERS = np.stack([z.argmax(axis=1) for z in random_feature_logits(2000, 1)[0]], axis=1)


def side(records, answers=ANSWERS, table=TABLE, **settings):
    return Side(records, answers, fit_family(records, [table], **settings))


def by_hand(scores, quality, thresholds):
    """A side with two exits, one feature, and a family of two rows around ``thresholds``."""
    scores, quality = np.float32(scores), np.float32(quality)
    records = ExitRecords(
        scores[:, None, None], quality, quality, "accuracy", None, GATE, 1.0, "hand"
    )
    base = fit_family(records, [CostTable("flops", (0.2, 1.0), 1.0)], policy="single")
    table = np.array(thresholds, dtype=float)[:, None]
    shares = np.stack([np.mean(scores >= t) for t in table[:, 0]])
    family = replace(
        base,
        thresholds=table,
        shares=np.stack([shares, 1 - shares], axis=1),
        quality=np.zeros(len(table)),
        discrete=True,
    )
    return family, records


def test_by_hand():
    mine, here = by_hand([4, 3, 2, 1], [[1, 1], [1, 1], [0, 1], [0, 1]], [0.5, 2.5, 9])
    theirs, there = by_hand([8, 2, 6, 1], [[1, 1], [1, 1], [0, 1], [0, 0]], [0.5, 3, 9])
    answers = np.array([[1, 1], [2, 2], [0, 3], [0, 4]])
    others = np.array([[1, 1], [2, 2], [0, 3], [0, 5]])
    point = compare_exits(Side(here, answers, mine), Side(there, others, theirs), [0.6])[0]
    # Own thresholds: samples 1, 2 leave here; 1, 3 there. With 2.5 there: 1, 3; with 3 here: 1, 2.
    assert point.budget == 0.6
    assert point.exit_flips == 0.5
    assert point.engine_flips == 0.5
    # Sample 3 is answered 3 here and 0 there, sample 4 answers 4 here and 5 there.
    assert point.answer_flips == 0.5
    assert (point.here.cost, point.here.quality) == (pytest.approx(0.6), 1.0)
    assert (point.here.error, point.here.lost) == (pytest.approx(0), 0)
    assert (point.there.cost, point.there.quality) == (pytest.approx(0.6), 0.5)


def test_thresholds_of_another_scale_miss_the_budget():
    mine, here = by_hand([4, 3, 2, 1], [[1, 1], [0, 1], [0, 1], [0, 1]], [0.5, 2.5, 9])
    theirs, there = by_hand([8, 6, 4, 2], [[1, 1], [0, 1], [0, 1], [0, 1]], [1, 5, 9])
    answers = np.zeros((4, 2), dtype=np.int64)
    point = compare_exits(Side(here, answers, mine), Side(there, answers, theirs), [0.6])[0]
    assert point.exit_flips == 0  # each is right for itself
    assert point.engine_flips == 0.25
    # 5 lets no sample go here: all pay 1.0 instead of 0.6, and all are right.
    assert point.here.borrowed_cost == pytest.approx(1.0)
    assert point.here.error == pytest.approx(0.4)
    assert point.here.lost == pytest.approx(-25)
    # 2.5 lets three of four go there: 0.25 + 0.15.
    assert point.there.error == pytest.approx(0.4 - 0.6)
    assert point.there.lost == pytest.approx(25)


def test_a_side_against_itself_differs_in_nothing():
    mine = side(make_records(2000, 1), budget=Budget(0.5))
    points = compare_exits(mine, mine, (0.3, 0.5, 0.5, 0.1, 3.0))
    assert [point.budget for point in points] == [0.3, 0.5]
    for point in points:
        assert (point.exit_flips, point.engine_flips, point.answer_flips) == (0, 0, 0)
        assert point.here == point.there
        assert point.here.error == pytest.approx(0, abs=1e-3)
        assert point.here.lost == 0


def test_a_temperature_moves_thresholds_of_energy():
    records = make_records(2000, 1)
    features = records.features.copy()
    features[:, :, 5] *= 1.25  # the energy of an engine that scales its logits
    scaled = replace(records, features=features)
    points = compare_exits(side(records, policy="energy"), side(scaled, policy="energy"))
    assert [point.budget for point in points] == [0.3, 0.5, 0.7]
    for point in points:
        assert point.exit_flips < 0.01
        assert point.here.cost == pytest.approx(point.budget, abs=1e-3)
        assert point.here.error > 0.03  # thresholds 1.25 times as high spend more
        assert point.there.error < -0.03
        assert point.engine_flips > 0.1


def test_a_certificate_does_not_snap_what_is_compared():
    from edgeexit.calibrate import fit_certified_family

    records = make_records(2000, 1)
    promise = Promise(0.95, iid=True, budgets=(Budget(0.4),))
    certified = Side(records, ANSWERS, fit_certified_family(records, [TABLE], promise))
    points = compare_exits(certified, side(records))
    assert [point.budget for point in points] == [0.3, 0.5, 0.7]
    assert all(point.here.cost == pytest.approx(point.budget, abs=0.03) for point in points)


def test_where_no_budget_is_possible_the_middle_is_compared():
    mine = side(make_records(2000, 1))
    middle = (COSTS[0] + COSTS[-1]) / 2
    assert [p.budget for p in compare_exits(mine, mine, (0.1,))] == [pytest.approx(middle)]


@pytest.mark.parametrize("change", ["samples", "data", "gate", "answers"])
def test_records_that_do_not_belong_together(change):
    records = make_records(2000, 1)
    other = {
        "samples": lambda: side(records.take(np.arange(900)), ANSWERS[:900]),
        "data": lambda: side(replace(records, data_sha256="other")),
        "gate": lambda: side(replace(records, gate=replace(records.gate, version=9))),
        "answers": lambda: replace(side(records), answers=ANSWERS[:, :2]),
    }[change]()
    with pytest.raises(InputError) as error:
        compare_exits(side(records), other)
    assert error.value.code == "compare.records"
    assert "2000 samples, 4 exits and gate 'statistics' here" in error.value.message

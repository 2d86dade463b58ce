"""The table of operating points and the recommendation."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable, ExitFamily
from edgeexit.calibrate import fit_family, frontier, point_at, recommend
from edgeexit.errors import BudgetError
from tests.calibrate.synthetic import COSTS, PATIENCE, make_records

FLOPS = CostTable("flops", COSTS, 1.0)


def family_by_hand():
    return ExitFamily(
        policy="gain-soft",
        manifest_digest="0" * 64,
        gate="confidence",
        gate_version=1,
        params=((1.0,),),
        thresholds=np.array([[-9.0], [0.0], [1.0], [9.0]]),
        shares=np.array([[1.0, 0.0], [0.8, 0.2], [0.4, 0.6], [0.0, 1.0]]),
        quality=np.array([0.7, 0.86, 0.897, 0.9]),
        quality_kind="accuracy",
        per_exit_quality=np.array([0.7, 0.9]),
        discrete=False,
        costs={"flops": CostTable("flops", (0.25, 1.25), 1.0)},
        samples=1000,
        data_sha256="0" * 64,
        budget=None,
    )


def test_point_by_hand():
    point = point_at(family_by_hand(), Budget(0.65))
    assert point.cost == pytest.approx(0.65)
    assert point.shares == pytest.approx((0.6, 0.4))
    assert point.quality == pytest.approx((0.86 + 0.897) / 2)
    assert point.drop == pytest.approx(2.15)


@pytest.mark.parametrize(
    ("max_drop", "cost"),
    [(0.0, 1.25), (0.29, 1.25), (0.3, 0.85), (0.5, 0.85), (4.1, 0.45), (99, 0.25)],
)
def test_recommendation_is_the_cheapest_that_drops_little_enough(max_drop, cost):
    point = recommend(family_by_hand(), max_drop=max_drop)
    assert point.cost == pytest.approx(cost)
    assert point.drop <= max_drop + 1e-9


def test_recommendation_can_be_dialled():
    family = fit_family(make_records(2000, 1), [FLOPS])
    point = recommend(family, max_drop=0.5)
    assert point.drop <= 0.5 + 1e-9
    assert COSTS[0] < point.cost < 0.8
    assert point_at(family, point.budget) == point


def test_table_runs_from_bound_to_bound():
    table = frontier(fit_family(make_records(2000, 1), [FLOPS]))
    costs = [point.cost for point in table]
    assert costs == pytest.approx([0.22, *np.arange(0.25, 1.01, 0.05), 1.02])
    assert table[-1].drop == pytest.approx(0)
    assert table[0].shares == pytest.approx((1, 0, 0, 0))
    assert all(sum(point.shares) == pytest.approx(1) for point in table)


def test_table_in_milliseconds():
    latency = CostTable("latency", (2.0, 3.0, 6.0, 11.0), 10.0, "here")
    table = frontier(fit_family(make_records(1000, 1), [latency]), "latency")
    assert [point.cost for point in table] == pytest.approx([*np.arange(2.0, 10.1, 0.5), 11.0])
    assert table[0].relative == pytest.approx(0.2)


def test_table_of_given_budgets():
    family = fit_family(make_records(1000, 1), [FLOPS])
    assert [point.budget for point in frontier(family, budgets=[0.3, 0.7])] == [
        Budget(0.3),
        Budget(0.7),
    ]
    with pytest.raises(BudgetError, match="outside"):
        frontier(family, budgets=[0.1])
    with pytest.raises(BudgetError, match="calibrated for flops, not latency"):
        frontier(family, "latency")


def test_discrete_points_cost_less_than_their_budget():
    family = fit_family(make_records(1000, 1, PATIENCE), [FLOPS], policy="patience")
    point = point_at(family, Budget(0.6))
    assert point.cost == pytest.approx(family.curve("flops")[1])
    assert point.cost < 0.6

"""Cost tables and the bounds of budgets."""

from __future__ import annotations

import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate.costs import check_budget, checked_table, latency_table, reference_budget
from edgeexit.errors import BudgetError, InputError

TABLE = CostTable("flops", (0.25, 0.5, 1.04), 1.0)


def test_latency_adds_up():
    table = latency_table([1.5, 2.0, 0.25], 3.5, "here")
    assert table == CostTable("latency", (1.5, 3.5, 3.75), 3.5, "here")


@pytest.mark.parametrize(
    ("stages", "static"),
    [([1.0, 0.0], 2.0), ([-1.0, 3.0], 2.0), ([1.0, float("nan")], 2.0), ([1.0], 2.0), ([1, 1], 0)],
)
def test_costs_that_do_not_rise(stages, static):
    with pytest.raises(InputError, match="right are positive, finite numbers that rise"):
        latency_table(stages, static, "here")


def test_budget_within_bounds():
    for value in (0.25, 0.3, 1.04):
        check_budget(Budget(value), TABLE)


@pytest.mark.parametrize("value", [0.2499, 1.05, 3.0])
def test_budget_out_of_bounds_names_both(value):
    with pytest.raises(BudgetError) as error:
        check_budget(Budget(value), TABLE)
    assert error.value.code == "budget.bounds"
    assert "first exit costs 0.25, always at the last 1.04" in error.value.message


def test_budget_of_another_kind():
    with pytest.raises(BudgetError, match="budget 8 ms is of kind latency"):
        check_budget(Budget(8, "latency"), TABLE)


def test_reference_is_the_budget_or_the_middle():
    assert reference_budget(Budget(0.3), TABLE) == 0.3
    assert reference_budget(None, TABLE) == pytest.approx(0.645)
    assert checked_table(TABLE) is TABLE

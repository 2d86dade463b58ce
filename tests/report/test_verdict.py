from __future__ import annotations

import dataclasses

import pytest

from edgeexit.report.operating import Operating, Place
from edgeexit.report.verdict import Case, advise

CURVE = [Place(0.25, 0.80), Place(0.4, 0.899), Place(0.7, 0.90), Place(1.05, 0.902)]
EXITS = [Place(0.25, 0.80), Place(0.6, 0.85), Place(1.05, 0.902)]
CASE = Case(
    CURVE,
    EXITS,
    Place(1.0, 0.902),
    "0.4",
    Operating(Place(0.4, 0.899), 0.3, -0.02, 0.6, (0.5, 0.2, 0.3)),
    "FLOPs",
    "accuracy",
    None,
)


def case(**changes):
    return dataclasses.replace(CASE, **changes)


def test_early_exits_at_the_budget():
    found = advise(CASE)
    assert found.choice == "exits"
    assert found.sentence == (
        "Ship early exits at budget 0.4: accuracy 89.9 % at 0.40 of the static model's FLOPs, "
        "0.3 points below it (95 % interval -0.6 to +0.0)."
    )


def test_a_budget_that_loses_too_much_is_to_be_raised():
    low = Operating(Place(0.3, 0.85), 5.2, None, None, (0.8, 0.1, 0.1))
    found = advise(case(budget="0.3", point=low))
    assert found.choice == "exits"
    assert "raise the budget: 0.3 gives accuracy 85.0 % at 0.30" in found.sentence
    assert "5.2 points below it; 0.40 of the static model's FLOPs is the least" in found.sentence


def test_without_a_budget_one_is_suggested():
    found = advise(case(budget=None, point=None))
    assert "not set yet: 0.40 of the static model's FLOPs is the least that keeps" in found.sentence


def test_the_static_model_where_no_setting_keeps_its_quality():
    found = advise(case(curve=[Place(0.25, 0.8), Place(1.05, 0.89)]))
    assert found.choice == "static"
    assert found.sentence.startswith("Ship the static model: no setting of the exits keeps")


@pytest.mark.parametrize(("cost", "choice"), [(0.94, "exits"), (0.96, "static")])
def test_the_static_model_where_exits_save_next_to_nothing(cost, choice):
    curve = [Place(0.25, 0.8), Place(cost, 0.902)]
    assert advise(case(curve=curve, exits=[EXITS[0], EXITS[-1]])).choice == choice


def test_the_model_cut_at_an_exit_that_is_as_good_alone():
    exits = [Place(0.25, 0.8), Place(0.41, 0.9), EXITS[-1]]
    found = advise(case(exits=exits))
    assert found.choice == "cut"
    assert found.sentence.startswith("Ship the model cut at exit 2: it alone has accuracy 90.0 %")
    assert found.sentence.endswith("To make it: edgeexit compile MODEL --truncate 2.")


def test_the_command_counts_the_exits_of_the_model_that_was_compiled():
    found = advise(case(curve=[Place(0.25, 0.8), Place(1.05, 0.89)], numbers=(1, 4, 6)))
    assert found.sentence.endswith("To make it: edgeexit compile MODEL --truncate 6.")


def test_the_static_model_where_flops_are_saved_and_time_is_not():
    assert advise(case(milliseconds=(0.5, 1.0))).choice == "exits"
    found = advise(case(milliseconds=(0.97, 1.0)))
    assert found.choice == "static"
    assert "save 60.0 % of the FLOPs but next to no time here (0.97 ms" in found.sentence


def test_exits_that_are_not_calibrated():
    found = advise(case(curve=[], budget=None, point=None))
    assert found.choice == "calibrate"
    assert "at 1.05 of the static model's FLOPs" in found.sentence

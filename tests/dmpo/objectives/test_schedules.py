"""The weights that move: their ends, their middle, and other numbers of exits."""

from __future__ import annotations

import pytest

from edgeexit.dmpo.config import ObjectiveConfig
from edgeexit.dmpo.objectives.build import build_schedule
from edgeexit.dmpo.objectives.schedules import PAPER_END, PAPER_START, stretched
from edgeexit.errors import InputError

NAMES = ("linear", "two-phase", "milestone", "cosine", "exponential")


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_begins_and_ends_at_the_papers_weights(name):
    schedule = build_schedule(ObjectiveConfig(schedule=name), 4)
    assert schedule.weights(0.0) == pytest.approx(PAPER_START)
    assert schedule.weights(1.0) == pytest.approx(PAPER_END)


@pytest.mark.parametrize(
    ("name", "quarter"),
    [
        ("constant", 1.0),
        ("linear", 1.75),
        ("two-phase", 1.0),
        ("milestone", 2.0),
        ("cosine", 1.0 + 3 * 0.14644661),
        ("exponential", 2**0.5),
    ],
)
def test_weights_a_quarter_of_the_way_from_1_to_4(name, quarter):
    config = ObjectiveConfig(schedule=name, start=(1.0,), end=(4.0,), milestones=(0.2, 0.5, 0.9))
    assert build_schedule(config, 1).weights(0.25) == pytest.approx((quarter,))


def test_two_phase_switches_at_its_boundary():
    schedule = build_schedule(ObjectiveConfig(schedule="two-phase", boundary=0.3), 4)
    assert schedule.weights(0.299) == PAPER_START
    assert schedule.weights(0.3) == pytest.approx(PAPER_END)


def test_other_numbers_of_exits_read_the_papers_weights_at_relative_depth():
    assert stretched((1.0, 2.0, 4.0, 8.0), 4) == (1.0, 2.0, 4.0, 8.0)
    assert stretched((1.0, 2.0, 4.0, 8.0), 3) == pytest.approx((1.0, 3.0, 8.0))
    assert stretched((1.0, 2.0, 4.0, 8.0), 7) == pytest.approx((1, 1.5, 2, 3, 4, 6, 8))
    assert stretched((1.0, 2.0, 4.0, 8.0), 2) == pytest.approx((1.0, 8.0))
    assert stretched((1.0, 2.0, 4.0, 8.0), 1) == (8.0,)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ObjectiveConfig(start=(1.0, 2.0)), "objective.start has 2 weights for 3 exits"),
        (ObjectiveConfig(end=(1.0, -2.0, 1.0)), "objective.end holds -2; weights are 0 or more"),
        (
            ObjectiveConfig(schedule="exponential", start=(0.0, 1.0, 1.0)),
            "objective.start holds 0; weights are above 0 for an exponential schedule",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(config, message):
    with pytest.raises(InputError, match=message) as caught:
        build_schedule(config, 3)
    assert caught.value.code == "tune.weights"

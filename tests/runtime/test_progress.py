"""Progress: shares, and the time left as it follows from the steps done."""

from __future__ import annotations

import pytest

from edgeexit.runtime.progress import Progress, duration


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_the_time_left_follows_from_the_steps_done():
    clock, told = Clock(), []
    progress = Progress(10, lambda step, share: told.append((step, share)), clock)
    with progress.step("stage 1", 2) as report:
        report("kernels", 0.5)
        clock.now += 8
    with progress.step("stage 2", 5):
        clock.now += 32
    with progress.step("stage 3", 3):
        pass
    assert told == [
        ("stage 1", 0.0),
        ("stage 1", 0.1),
        ("stage 1", 0.2),
        ("stage 2 (about 32 s left)", 0.2),
        ("stage 2 (about 32 s left)", 0.7),
        ("stage 3 (about 17 s left)", 0.7),
        ("stage 3 (about 17 s left)", 1.0),
    ]


def test_a_step_that_was_done_before_tells_nothing_of_the_speed():
    clock, told = Clock(), []
    progress = Progress(4, lambda step, share: told.append(step), clock)
    with progress.step("stage 1", 1):
        clock.now += 0.01
        progress.cached = True
    with progress.step("stage 2", 1):
        clock.now += 60
    with progress.step("stage 3", 2):
        pass
    assert list(dict.fromkeys(told)) == ["stage 1", "stage 2", "stage 3 (about 2 min left)"]


def test_shares_outside_0_to_1_are_clipped():
    told = []
    with Progress(1, lambda step, share: told.append(share)).step("stage 1", 1) as report:
        report("", -3.0)
        report("", 7.0)
    assert told == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1 s"), (40.4, "40 s"), (99, "99 s"), (150, "2 min"), (600, "10 min")]
)
def test_durations_for_people(seconds, text):
    assert duration(seconds) == text

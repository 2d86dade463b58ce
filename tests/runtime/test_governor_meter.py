"""The governor's goals in joules by a meter: an input's, a battery's, nonsense."""

from __future__ import annotations

import math

import pytest
from toy import make_inputs, write_bundle

from edgeexit.runtime.goals import Joules, Reserve
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.runtime.governed import (
    FakeClock,
    FakeMeter,
    drive,
    fine_family,
    rows_of,
    scaled,
)


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path)


def test_joules_an_input_are_held(bundle):
    clock = FakeClock()
    meter = FakeMeter(clock)
    bundle.write_exits(fine_family(bundle))
    governor = Governor(Joules(2.6), meter=meter, clock=clock, meter_seconds=1.0, seed=4)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        drive(runtime, meter, clock, rows_of(make_inputs(1500, seed=1)))
        for factor in (1.0, 0.5):
            inputs = rows_of(scaled(make_inputs(2500, seed=2), factor))
            drive(runtime, meter, clock, inputs[:500])
            assert drive(runtime, meter, clock, inputs[500:]) == pytest.approx(2.6, abs=0.06)
        assert governor.state.unit == "J"
        assert governor.state.recent == pytest.approx(2.6, abs=0.06)


@pytest.mark.parametrize("joules", [10000.0, 11000.0])
def test_a_reserve_lasts(bundle, joules):
    """An hour on 10 or 11 kJ: idle takes 7.2 kJ of it; the load doubles half way."""
    clock = FakeClock()
    meter = FakeMeter(clock)
    bundle.write_exits(fine_family(bundle))
    governor = Governor(
        Reserve(joules, 1.0), meter=meter, clock=clock, meter_seconds=20.0, audit=0, seed=4
    )
    inputs = rows_of(make_inputs(300, seed=1))
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        for step in range(1200):
            meter.spend(runtime(inputs[step % 300]).cost)
            clock.now += 4.0 if step < 600 else 2.0
        state = governor.state
        assert state.seconds_left == pytest.approx(0.0)
        # At the first exit alone 1,200 inputs take 1,680 J, at the last 4,960 J.
        spent = meter.joules + 2.0 * clock.now
        assert spent == pytest.approx(joules, rel=0.01)
        assert state.joules_left == pytest.approx(joules - spent, abs=100)
        clock.now += 40
        runtime(inputs[0])
        assert governor.state.seconds_left < 0


def test_an_empty_reserve_leaves_the_first_exit(bundle):
    clock = FakeClock()
    meter = FakeMeter(clock)
    bundle.write_exits(fine_family(bundle))
    governor = Governor(Reserve(5.0, 1.0), meter=meter, clock=clock, meter_seconds=0.0, audit=0.5)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        drive(runtime, meter, clock, rows_of(make_inputs(100)))
        assert [runtime(one).exits[0] for one in rows_of(make_inputs(50))] == [1] * 50
        assert governor.state.joules_left < 0
        assert governor.state.saturated == "cheapest"


def failing():
    raise OSError("no such rail")


@pytest.mark.parametrize("broken", [failing, lambda: math.nan, lambda: -1e9, lambda: "much"])
def test_a_meter_that_answers_nonsense_is_refused(bundle, broken):
    clock = FakeClock()
    meter = FakeMeter(clock)
    bundle.write_exits(fine_family(bundle))
    governor = Governor(Joules(2.6), meter=meter, clock=clock, meter_seconds=1.0, seed=4)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        drive(runtime, meter, clock, rows_of(make_inputs(500, seed=1)))
        aim, mean = governor.state.aim, governor.state.mean
        meter.broken = broken
        drive(runtime, meter, clock, rows_of(make_inputs(12, seed=2)))
        assert governor.state.meter_faults == 1
        assert (governor.state.aim, governor.state.mean) == (aim, mean)
        meter.broken = None
        drive(runtime, meter, clock, rows_of(make_inputs(1500, seed=3)))
        assert drive(runtime, meter, clock, rows_of(make_inputs(1000, seed=4))) == pytest.approx(
            2.6, abs=0.08
        )

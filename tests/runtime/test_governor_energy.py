"""The governor's goals in joules with a family that has a table of energy, on a fake clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy import make_inputs, write_bundle

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.errors import BudgetError
from edgeexit.runtime.goals import Joules, Reserve
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.runtime.governed import FakeClock, fine_family, rows_of, scaled

MILLIJOULES = (500.0, 2600.0, 3000.0)
"""Far from the FLOPs of the toy's exits: its second stage is the thirsty one."""


class FakeBoard:
    """A board that draws 2 W idle and so many joules an exit; reads as joules so far."""

    def __init__(self, clock):
        self.clock = clock
        self.joules = 0.0

    def __call__(self):
        return self.joules + 2.0 * self.clock.now

    def drive(self, runtime, inputs, seconds=0.1):
        """Answer inputs at a fixed rate; return the joules that were spent an input."""
        before = self()
        for one in inputs:
            self.joules += MILLIJOULES[int(runtime(one).exits[0]) - 1] / 1000
            self.clock.now += seconds
        return (self() - before) / len(inputs)


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path)


def calibrated(bundle, fingerprint=None, **changes):
    """Write a family with a table of energy; of this device unless told otherwise."""
    family = fine_family(bundle)
    bundle.write_exits(family)
    if fingerprint is None:
        with Runtime(bundle, threads=1) as runtime:
            fingerprint = runtime.machine.fingerprint
    table = CostTable("energy", MILLIJOULES, 2900.0, fingerprint, **changes)
    bundle.write_exits(replace(family, costs={**family.costs, "energy": table}))


def test_joules_are_looked_up_in_the_table_of_energy(bundle):
    calibrated(bundle)
    clock = FakeClock()
    board = FakeBoard(clock)
    governor = Governor(Joules(1.9), meter=board, clock=clock, meter_seconds=1.0, seed=4)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        board.drive(runtime, rows_of(make_inputs(1500, seed=1)))
        for factor in (1.0, 0.5):
            inputs = rows_of(scaled(make_inputs(2500, seed=2), factor))
            board.drive(runtime, inputs[:500])
            assert board.drive(runtime, inputs[500:]) == pytest.approx(1.9, abs=0.06)
            state = governor.state
            # Where the dial stands is in millijoules, not in fractions of FLOPs.
            assert MILLIJOULES[0] < state.aim < MILLIJOULES[-1]
            assert (state.unit, state.bound, state.goal) == ("J", None, "1.9 J an input")
        # 0.2 of the 1.9 J an input are idle power: the rest is what the table says.
        assert state.scale == pytest.approx(1.9 / 1700, rel=0.1)


@pytest.mark.parametrize("elsewhere", ["another device", None])
def test_without_a_table_of_this_device_joules_are_looked_up_in_flops(bundle, elsewhere):
    if elsewhere:
        calibrated(bundle, elsewhere)
    else:
        bundle.write_exits(fine_family(bundle))
    clock = FakeClock()
    board = FakeBoard(clock)
    governor = Governor(Joules(1.9), meter=board, clock=clock, meter_seconds=1.0, seed=4)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        board.drive(runtime, rows_of(make_inputs(2000, seed=1)))
        assert governor.state.aim < 1.5
        inputs = rows_of(make_inputs(1000, seed=2))
        assert board.drive(runtime, inputs) == pytest.approx(1.9, abs=0.08)


def test_a_reserve_lasts_by_the_table_of_energy(bundle):
    """Half an hour on 5,000 J, of which idle power takes 3,600, at an input every 2 s."""
    calibrated(bundle)
    clock = FakeClock()
    board = FakeBoard(clock)
    reserve = Reserve(5000.0, 0.5)
    governor = Governor(reserve, meter=board, clock=clock, meter_seconds=20.0, audit=0, seed=4)
    inputs = rows_of(make_inputs(300, seed=1))
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        board.drive(runtime, [inputs[step % 300] for step in range(900)], seconds=2.0)
        assert board() == pytest.approx(5000.0, rel=0.02)
        assert governor.state.joules_left == pytest.approx(5000.0 - board(), abs=50)


@pytest.mark.parametrize("estimated", [True, False])
def test_millijoules_are_held_by_counting(bundle, estimated):
    calibrated(bundle, estimated=estimated)
    governor = Governor("1500mJ", seed=1)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        exits = [runtime(one).exits[0] for one in rows_of(make_inputs(2000, seed=3))]
        spent = np.asarray(MILLIJOULES)[np.asarray(exits) - 1]
        state = governor.state
        assert state.mean == pytest.approx(spent.mean())
        assert abs(spent.mean() - 1500) <= state.bound
        assert spent.mean() == pytest.approx(1500, abs=25)
        assert (state.unit, state.scale) == ("mJ", 1.0)
        words = "1500 mJ (estimated)" if estimated else "1500 mJ"
        assert (state.goal, runtime.stats().budget) == (words, words)


def test_a_governor_takes_up_the_millijoules_of_the_runtime(bundle):
    calibrated(bundle)
    with Runtime(bundle, "2J", threads=1, governor=Governor()) as runtime:
        assert runtime.governor.budget == Budget(2000.0, "energy")
        runtime(make_inputs(3))
        assert runtime.governor.state.unit == "mJ"


@pytest.mark.parametrize(
    ("fingerprint", "goal", "code"),
    [
        (None, "100mJ", "budget.bounds"), (None, "3001mJ", "budget.bounds"),
        ("another device", "1500mJ", "budget.device"), ("", "1500mJ", "budget.kind"),
    ],
)  # fmt: skip
def test_millijoules_that_cannot_be_held_are_refused(bundle, fingerprint, goal, code):
    if fingerprint == "":
        bundle.write_exits(fine_family(bundle))
    else:
        calibrated(bundle, fingerprint, estimated=True)
    with Runtime(bundle, 0.6, threads=1, governor=Governor()) as runtime:
        with pytest.raises(BudgetError) as caught:
            runtime.governor.budget = goal
        assert caught.value.code == code
        assert (fingerprint is None) == ("500 mJ (estimated)" in caught.value.message)
        assert runtime.governor.budget == Budget(0.6)

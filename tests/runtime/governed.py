"""What tests of the governor share: a fine family of exits, fake clock, fake meter."""

from __future__ import annotations

import numpy as np

from edgeexit.runtime.result import Result
from edgeexit.runtime.runtime import Runtime
from tests.runtime.families import make_family
from tests.runtime.toy import make_inputs

FINE = [[limit, limit] for limit in np.linspace(0.0, 1.05, 43).tolist()]


def fine_family(bundle, samples=2000, **changes):
    """Return a family of many rows whose shares are those of the toy's own inputs."""
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, exits=False, threads=1) as runtime:
        scores = np.stack(runtime.all_exits(make_inputs(samples, seed=77)).scores, axis=1)
    shares = []
    for limits in FINE:
        leaves = np.column_stack([scores >= limits, np.ones(samples, bool)])
        shares.append(np.bincount(leaves.argmax(1), minlength=3) / samples)
    return make_family(
        bundle, thresholds=FINE, shares=np.array(shares), quality=np.zeros(len(FINE)),
        samples=samples, **changes,
    )  # fmt: skip


def rows_of(inputs):
    """Return the samples one by one."""
    count = len(inputs["x"])
    return [{name: array[row : row + 1] for name, array in inputs.items()} for row in range(count)]


def scaled(inputs, factor):
    """Inputs whose logits, and so the confidence in them, are larger or smaller."""
    return {name: np.float32(factor) * array for name, array in inputs.items()}


def answer(exits, costs):
    """A result as a call returns it, with made-up logits."""
    exits = np.atleast_1d(np.asarray(exits, np.int32))
    nothing = np.zeros((len(exits), 2), np.float32)
    return Result(nothing, exits, np.full(len(exits), 0.5, np.float32), {}, costs)


class FakeClock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def slow_down(runtime, clock, milliseconds):
    """Make the stages take fake time: ``milliseconds[k]`` a stage, at every size run so far."""
    runtime(rows_of(make_inputs(1))[0])

    def timed(run, index):
        def call():
            clock.now += milliseconds[index] / 1000
            run()

        return call

    for lane in runtime._pool._idle[0]._lanes.values():
        lane.runs = [timed(run, index) for index, run in enumerate(lane.runs)]


class FakeMeter:
    """A board that draws 2 W idle and 4 J a unit of FLOPs; reads as joules so far."""

    def __init__(self, clock):
        self.clock = clock
        self.joules = 0.0
        self.broken = None

    def spend(self, cost):
        self.joules += 4.0 * cost

    def __call__(self):
        if self.broken is not None:
            return self.broken()
        return self.joules + 2.0 * self.clock.now


def drive(runtime, meter, clock, inputs, seconds=0.1):
    """Answer inputs at a fixed rate; return the joules that were spent a call."""
    before = meter.joules + 2.0 * clock.now
    for one in inputs:
        meter.spend(runtime(one).cost)
        clock.now += seconds
    return (meter.joules + 2.0 * clock.now - before) / len(inputs)

"""The toy bundle with a fine family of exits, and a device on a fake clock, for the governor."""

from __future__ import annotations

import numpy as np

from edgeexit.runtime.runtime import Runtime
from tests.runtime.families import make_family
from tests.runtime.toy import make_inputs

_ROWS = [[limit, limit] for limit in np.linspace(0.0, 1.05, 43).tolist()]


def fine_family(bundle, samples=2000):
    """Return a family of many rows whose shares are those of the toy's own inputs."""
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, exits=False, threads=1) as runtime:
        scores = np.stack(runtime.all_exits(make_inputs(samples, seed=77)).scores, axis=1)
    shares = []
    for limits in _ROWS:
        leaves = np.column_stack([scores >= limits, np.ones(samples, bool)])
        shares.append(np.bincount(leaves.argmax(1), minlength=3) / samples)
    return make_family(
        bundle, thresholds=_ROWS, shares=np.array(shares), quality=np.zeros(len(_ROWS)),
        samples=samples,
    )  # fmt: skip


def rows_of(inputs):
    """Return the samples one by one."""
    count = len(inputs["x"])
    return [{name: array[row : row + 1] for name, array in inputs.items()} for row in range(count)]


class FakeClock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def slow_down(runtime, clock, milliseconds):
    """Make the stages of single samples take fake time: ``milliseconds[k]`` a stage."""
    runtime(rows_of(make_inputs(1))[0])
    lane = runtime._pool._idle[0]._lanes[1, ()]

    def timed(run, index):
        def call():
            clock.now += milliseconds[index] / 1000
            run()

        return call

    lane.runs = [timed(run, index) for index, run in enumerate(lane.runs)]

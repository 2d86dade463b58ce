"""The governor on milliseconds in batches, whose costs do not add up sample by sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.bundle.batch_costs import BatchCosts
from edgeexit.bundle.exits import CostTable
from edgeexit.runtime.batch_modes import BatchTimes
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.runtime.batch_times import made_batch
from tests.runtime.governed import FakeClock, fine_family, slow_down
from tests.runtime.toy import make_inputs, write_bundle

SIZES = (1, 2, 4, 6, 8)
STAGES = (1.0, 2.0, 3.0)
"""Milliseconds of a stage at every size: in a batch that shrinks too, nobody is cheaper."""


def in_batches(family, fingerprint, mode):
    """The family with its costs in batches of 8."""
    times = BatchTimes([made_batch(size, STAGES) for size in SIZES], SIZES, mode, 8)
    rows = np.maximum.accumulate([times.each(shares) for shares in family.shares])
    batch = BatchCosts(mode, 8, tuple(rows.tolist()))
    ends = tuple(np.cumsum(STAGES) / 8)
    table = CostTable("latency", ends, ends[-1], fingerprint, batch=batch)
    return replace(family, costs={**family.costs, "latency": table})


@pytest.mark.parametrize(
    ("mode", "held", "priced"), [("whole", 0.005, 1e-6), ("compacted", 0.03, 0.1)]
)
@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_milliseconds_a_sample_are_held(tmp_path, mode, held, priced, slower):
    """On a fake clock; ``slower`` is what happens to the device after 300 calls."""
    bundle, clock = write_bundle(tmp_path), FakeClock()
    family = fine_family(bundle)
    with Runtime(bundle, threads=1) as runtime:
        bundle.write_exits(in_batches(family, runtime.machine.fingerprint, mode))
        runtime.reload()
        for size in SIZES:
            runtime.run_to(make_inputs(size), 3)
        milliseconds = list(STAGES)
        slow_down(runtime, clock, milliseconds)
        runtime.governor = governor = Governor("0.5ms", clock=clock, audit=0)
        assert governor.state.goal == f"0.5 ms ({mode} batches of 8)"
        inputs, spent = make_inputs(8 * 1500, seed=8), []
        for step in range(1500):
            if step == 300:
                milliseconds[:] = [slower * each for each in STAGES]
            start = clock.now
            runtime({name: array[8 * step : 8 * step + 8] for name, array in inputs.items()})
            spent.append((clock.now - start) * 1000 / 8)
    assert np.mean(spent[300:]) == pytest.approx(0.5, rel=held)
    # What exits cost by the table is what they take, or as many times that as the device is
    # slower: were they priced one by one, waiting would look like a slow device.
    assert governor.state.scale == pytest.approx(slower, rel=priced)

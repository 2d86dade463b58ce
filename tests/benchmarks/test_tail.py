"""What the benchmark of the 95th percentile makes of its times; never the times themselves."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edgeexit.runtime.call_times import LEVELS
from edgeexit.runtime.power.conditions import Conditions
from tests.benchmarks.tail import _forecast


def test_a_forecast_is_made_of_every_call_forced_to_an_exit():
    runtime = SimpleNamespace(machine=SimpleNamespace(fingerprint="here"))
    rng = np.random.default_rng(0)
    forced = np.stack([1 + rng.random((50, 5)), 3 + rng.random((50, 5))], axis=1)
    times = _forecast(runtime, forced, Conditions(None, (), (), None))
    assert (times.fingerprint, times.count) == ("here", 250)
    for exit_number, row in enumerate(times.exits):
        assert len(row) == LEVELS
        assert (row[0], row[-1]) == (forced[:, exit_number].min(), forced[:, exit_number].max())
    # 0.9 leave at exit 1, so half of the tenth that goes on must be within.
    assert times.percentile([0.9, 0.1], 0.95) == pytest.approx(np.median(forced[:, 1]), abs=0.02)

"""Inputs that were made never to exit: the governor bounds what they cost, and stats tell."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.runtime.governed import fine_family, rows_of
from tests.runtime.toy import make_inputs, write_bundle

BUDGET, CALLS = 0.6, 2500


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    bundle = write_bundle(tmp_path_factory.mktemp("attack"))
    bundle.write_exits(fine_family(bundle))
    return bundle


def craft(runtime, inputs, steps=120, reach=0.5):
    """Return inputs moved step by step to where every gate is least sure, as an attacker would.

    A black-box slowdown attack (in the manner of DeepSloth, Hong et al., ICLR 2021): it sees the
    scores alone, and keeps what lowers the largest of a sample's scores.
    """
    rng = np.random.default_rng(5)
    best = {name: array.copy() for name, array in inputs.items()}
    sure = np.max(runtime.all_exits(best).scores, axis=0)
    for _ in range(steps):
        moved = {
            name: array + rng.normal(0, reach, array.shape).astype(np.float32)
            for name, array in best.items()
        }
        scores = np.max(runtime.all_exits(moved).scores, axis=0)
        better = scores < sure
        for name, array in best.items():
            array[better] = moved[name][better]
        sure = np.minimum(sure, scores)
    return best


@pytest.fixture(scope="module")
def hostile(bundle):
    """Inputs of which, without a governor, nearly all go to the last exit."""
    with Runtime(bundle, BUDGET, threads=1) as runtime:
        attacked = craft(runtime, make_inputs(CALLS, seed=9))
        plain = runtime(make_inputs(CALLS, seed=9))
        result = runtime(attacked)
    assert plain.cost == pytest.approx(BUDGET, abs=0.02)
    assert (result.exits == 3).mean() > 0.95
    assert result.cost > 1.0
    return attacked


@pytest.mark.parametrize("device", ["cpu", "x86"])
@pytest.mark.parametrize("audit", [0.0, 0.02])
def test_single_calls_stay_within_the_bound(bundle, hostile, device, audit):
    governor = Governor(BUDGET, audit=audit, seed=1)
    with Runtime(bundle, target=device, threads=1, governor=governor) as runtime:
        spent = []
        for one in rows_of(hostile):
            spent.append(runtime(one).cost)
            state = governor.state
            assert abs(np.mean(spent) - BUDGET) <= state.bound * (1 + 1e-9)
        assert np.mean(spent) == pytest.approx(BUDGET, abs=0.015)
        assert np.mean(spent[-500:]) == pytest.approx(BUDGET, abs=0.015)
        assert state.mean == pytest.approx(np.mean(spent))


@pytest.mark.parametrize("rows", [8, 32])
def test_batches_stay_near_the_budget(bundle, hostile, rows):
    with Runtime(bundle, threads=1, governor=Governor(BUDGET, seed=1)) as runtime:
        spent = [
            runtime({name: array[start : start + rows] for name, array in hostile.items()}).cost
            for start in range(0, CALLS - rows, rows)
        ]
    assert np.mean(spent) == pytest.approx(BUDGET, abs=0.03)
    assert np.mean(spent[20:]) == pytest.approx(BUDGET, abs=0.015)


def test_an_attack_in_turn_with_good_inputs_is_held_too(bundle, hostile):
    """Bursts, so that the governor has always just forgiven the last one."""
    good = rows_of(make_inputs(CALLS, seed=10))
    bad = rows_of(hostile)
    with Runtime(bundle, threads=1, governor=Governor(BUDGET, audit=0, seed=1)) as runtime:
        spent = [runtime((bad if step // 100 % 2 else good)[step]).cost for step in range(CALLS)]
    assert np.mean(spent) == pytest.approx(BUDGET, abs=0.015)
    averages = np.convolve(spent, np.ones(500) / 500, "valid")
    assert np.abs(averages - BUDGET).max() < 0.03


@pytest.mark.parametrize("governed", [False, True])
def test_stats_report_it(bundle, hostile, governed):
    """Drift of the exits is an alarm, with the shares that calibration saw and those now."""
    raised = []
    governor = Governor(BUDGET, audit=0, seed=1) if governed else None
    with Runtime(bundle, BUDGET, threads=1, governor=governor) as runtime:
        runtime.monitor.watch(window=500)
        runtime.monitor.on_drift = raised.append
        for one in rows_of(make_inputs(1000, seed=9)):
            runtime(one)
        assert runtime.stats().drift.alarms == 0
        for one in rows_of(hostile):
            runtime(one)
        stats = runtime.stats()
    drift = stats.drift
    assert drift.alarms >= 1
    assert len(raised) == 1
    assert raised[0].drifting
    assert drift.observed[-1] > drift.expected[-1] + 0.1
    if governed:
        assert stats.governor["mean"] == pytest.approx(BUDGET, abs=0.015)
    else:
        assert stats.exits[-1] > 0.9 * CALLS

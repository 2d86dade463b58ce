"""Times of calls by exit: the mixture's percentile against arithmetic, and what is measured."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgeexit.bundle.codec import decode, encode
from edgeexit.runtime import call_times, timing
from edgeexit.runtime.call_times import (
    LEVELS,
    CallTimes,
    kept_calls,
    load_or_measure_calls,
    measure_calls,
)
from edgeexit.runtime.runtime import Runtime
from tests.calibrate.call_times import CALM, evenly
from tests.runtime.power.test_conditions import MODE, plant_jetson

THREE = evenly((1.0, 2.0), (3.0, 5.0), (6.0, 10.0))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("shares", "level", "expected"),
    [
        ((1, 0, 0), 0.95, 1.95),
        ((0, 0, 1), 0.95, 9.8),
        ((0, 1, 0), 0.5, 4.0),
        # 0.8 leave at exit 1 and 0.1 at exit 2; half of the last tenth must be within: 8 ms.
        ((0.8, 0.1, 0.1), 0.95, 8.0),
        # 0.94 at exit 1, and a fourth of the 0.04 at exit 2.
        ((0.94, 0.04, 0.02), 0.95, 3.5),
        # Nobody takes between 2 and 3 ms.
        ((0.95, 0.05, 0), 0.95, 2.0),
    ],
)
def test_the_percentile_of_a_mixture(shares, level, expected):
    found = THREE.percentile(shares, level)
    assert found == pytest.approx(expected, abs=1e-9)
    assert np.dot(shares, THREE.shares_within(found)) == pytest.approx(level)


def test_it_is_that_of_draws_from_the_mixture():
    rng = np.random.default_rng(0)
    samples = rng.gamma([[2.0], [5.0], [9.0]], 1.0, (3, 4000))
    rows = np.quantile(samples, np.linspace(0, 1, LEVELS), axis=1).T
    times = CallTimes("here", 4000, tuple(map(tuple, rows.tolist())), CALM)
    shares = np.array([0.6, 0.3, 0.1])
    taken = rng.choice(3, 200_000, p=shares)
    drawn = samples[taken, rng.integers(0, 4000, 200_000)]
    for level in (0.5, 0.9, 0.95, 0.99):
        within = np.mean(drawn <= times.percentile(shares, level))
        assert within == pytest.approx(level, abs=0.004)


def test_shares_within_a_time():
    assert THREE.shares_within(0.5).tolist() == [0, 0, 0]
    np.testing.assert_allclose(THREE.shares_within(4.0), [1.0, 0.5, 0.0])
    assert THREE.shares_within(10.0).tolist() == [1, 1, 1]


def test_a_later_exit_counts_as_no_faster():
    crossed = evenly((1.0, 5.0), (2.0, 4.0))
    assert crossed.percentile((0, 1), 0.95) == pytest.approx(crossed.percentile((1, 0), 0.95))
    assert crossed.shares_within(4.0).tolist() == pytest.approx([0.75, 0.75])


def test_times_that_are_all_the_same():
    steady = evenly((2.0, 2.0), (3.0, 3.0))
    assert steady.percentile((1, 0), 0.95) == 2.0
    assert steady.percentile((0.96, 0.04), 0.95) == 2.0
    assert steady.percentile((0.9, 0.1), 0.95) == 3.0
    assert steady.shares_within(2.0).tolist() == [1.0, 0.0]


def test_every_exit_is_timed_on_its_own_in_a_new_order_every_round(toy_bundle, monkeypatch):
    """On a fake clock: a call that leaves at exit k takes k milliseconds and its round's tenth."""
    now, asked = [0], []
    for module in (call_times, timing):
        monkeypatch.setattr(module, "perf_counter_ns", lambda: now[0])

    def run_to(_, number):
        asked.append(number)
        now[0] += 1_000_000 * number + 100_000 * ((len(asked) - 1) // 3 % 10)

    with Runtime(toy_bundle, threads=1) as runtime:
        monkeypatch.setattr(runtime, "run_to", run_to)
        times = measure_calls(runtime, 0.5)
        again = measure_calls(runtime, 0.0)
    # A round takes 6 ms and three times its tenth: the 69th ends after 0.5 s. Three are warm.
    assert times.count == 66
    assert again.count == 60
    assert [round(row[0], 6) for row in times.exits] == [1.0, 2.0, 3.0]
    assert [round(row[-1], 6) for row in times.exits] == [1.9, 2.9, 3.9]
    assert [round(row[LEVELS // 2], 1) for row in times.exits] == [1.5, 2.5, 3.5]
    rounds = np.asarray(asked).reshape(-1, 3)
    assert (np.sort(rounds, axis=1) == [1, 2, 3]).all()
    assert len({tuple(row) for row in rounds.tolist()}) == 6


def test_times_are_measured_once_and_kept(toy_bundle, cache):
    with Runtime(toy_bundle, threads=1) as runtime:
        times = load_or_measure_calls(runtime, 0.01)
        assert times.fingerprint == runtime.machine.fingerprint
        assert times.count >= 60
        quantiles = np.asarray(times.exits)
        assert quantiles.shape == (3, LEVELS)
        assert (quantiles > 0).all()
        assert (np.diff(quantiles, axis=1) >= 0).all()
        assert load_or_measure_calls(runtime, 0.01) == times
        store = runtime.machine.cache
        for damaged in ({"count": 3}, encode(replace(times, exits=times.exits[:2]))):
            store.write_json("call-times", damaged)
            assert kept_calls(store, 3) is None
        assert len(load_or_measure_calls(runtime, 0.01).exits) == 3
    assert decode(CallTimes, json.loads(json.dumps(encode(times))), "entry") == times


def test_times_of_another_power_mode_are_measured_again(toy_bundle, cache, tmp_path, caplog):
    root = plant_jetson(tmp_path / "root")
    with Runtime(toy_bundle, threads=1) as runtime:
        first = load_or_measure_calls(runtime, 0.01, root=root)
        assert first.before.mode == MODE
        assert load_or_measure_calls(runtime, 0.01, root=root) == first
        (root / "var/lib/nvpmodel/status").write_text("pmode:0000\n")
        second = load_or_measure_calls(runtime, 0.01, root=root)
    assert second.before.mode == MODE.replace("25W", "15W")
    assert any(m.startswith("the times of calls are measured again") for m in caplog.messages)


@pytest.mark.parametrize(("load", "warned"), [(0.4, False), (0.6, True), (None, False)])
def test_a_busy_machine_is_warned_of(toy_bundle, monkeypatch, caplog, load, warned):
    monkeypatch.setattr(call_times, "read_conditions", lambda _: replace(CALM, load=load))
    with Runtime(toy_bundle, threads=1) as runtime:
        measure_calls(runtime, 0.0)
    assert any("calls are timed while 0.6 processes a core" in m for m in caplog.messages) == warned

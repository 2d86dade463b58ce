"""Counts, drift and the Prometheus file, on real calls."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from families import make_family
from toy import make_inputs, write_bundle

from edgeexit.budget import Budget
from edgeexit.errors import InputError, ResourceError
from edgeexit.runtime.drift import chi2_tail, drift_p_value
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.setting import mixed_shares
from edgeexit.runtime.stats import SCORE_EDGES

THRESHOLDS = [[0.0, 0.0], [0.5, 0.6], [2.0, 2.0]]


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path)


def row_of(inputs, row):
    return {name: array[row : row + 1] for name, array in inputs.items()}


def true_shares(bundle, budget, samples=3000):
    """The exit shares that the toy's inputs really have at the family's middle."""
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, budget, threads=1) as runtime:
        exits = runtime(make_inputs(samples, seed=99)).exits
    return np.bincount(exits - 1, minlength=3) / samples


def honest_family(bundle, **changes):
    """A family whose middle row has the shares that the toy's inputs really have there."""
    costs = np.asarray(bundle.manifest.flops_costs)
    family = make_family(bundle)
    middle = Budget(float(family.curve("flops")[1]))
    shares = true_shares(bundle, middle)
    rows = np.array([[1.0, 0, 0], shares, [0, 0, 1.0]])
    budget = Budget(float(shares @ costs))
    return make_family(bundle, shares=rows, budget=budget, samples=3000, **changes)


# Upper tails from tables of the chi-square distribution (Abramowitz and Stegun, table 26.8).
@pytest.mark.parametrize(
    ("statistic", "degrees", "tail"),
    [(3.84146, 1, 0.05), (5.99146, 2, 0.05), (16.2662, 3, 0.001), (18.3070, 10, 0.05),
     (24.7250, 11, 0.01), (0.0, 4, 1.0), (2000.0, 2, 0.0)],
)  # fmt: skip
def test_the_tail_of_chi_square_is_that_of_the_tables(statistic, degrees, tail):
    assert chi2_tail(statistic, degrees) == pytest.approx(tail, rel=1e-4, abs=1e-12)


def test_the_test_keeps_its_false_alarm_rate_and_sees_a_shift():
    rng = np.random.default_rng(5)
    true = np.array([0.5, 0.3, 0.15, 0.049, 0.001])
    window, calibrated, rate = 1000, 2000, 0.05

    def alarms(shares, draws=2000):
        expected = rng.multinomial(calibrated, true, draws) / calibrated
        observed = rng.multinomial(window, shares, draws)
        pairs = zip(observed, window * expected, strict=True)
        return np.mean([drift_p_value(o, e, calibrated) < rate for o, e in pairs])

    # Three standard errors of a rate of 0.05 in 2,000 draws are 0.015.
    assert alarms(true) == pytest.approx(rate, abs=0.015)
    assert alarms(np.array([0.4, 0.35, 0.19, 0.059, 0.001]), 200) > 0.95


def test_exits_that_are_hardly_expected_are_pooled():
    # Alone, two samples where 0.1 are expected would be a chance in hundreds.
    few = np.array([600.0, 398.0, 2.0]), np.array([600.0, 399.9, 0.1])
    assert drift_p_value(*few, 10**6) > 0.9
    assert drift_p_value(np.array([4.0, 0.0]), np.array([2.0, 2.0]), 100) == 1.0


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_counts_are_those_of_the_answers(bundle, device):
    bundle.write_exits(make_family(bundle))
    inputs = make_inputs(100, seed=2)
    with Runtime(bundle, 0.7, target=device, threads=1) as runtime:
        results = [runtime(inputs), *(runtime(row_of(inputs, row)) for row in range(40))]
        runtime.run_to(inputs, 2)
        runtime.all_exits(inputs)
        stats = runtime.stats()
    exits = np.concatenate([result.exits for result in results])
    scores = np.concatenate([result.scores for result in results])
    assert (stats.calls, stats.samples) == (41, 140)
    np.testing.assert_array_equal(stats.exits, np.bincount(exits - 1, minlength=3))
    assert len(set(exits)) == 3
    assert stats.cost == pytest.approx(np.mean(np.concatenate([r.costs for r in results])))
    edges = [-np.inf, *SCORE_EDGES, np.inf]
    for number in (1, 2):
        found = scores[exits == number].astype(float)
        wanted = [((found > a) & (found <= b)).sum() for a, b in pairwise(edges)]
        np.testing.assert_array_equal(stats.scores[number - 1], wanted)
    assert stats.budget == "0.7"
    assert stats.call_ms > 0
    assert stats.audit_disagreement is None
    assert stats.over_deadline_share is None


def test_threads_lose_no_call(bundle):
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, 0.7, threads=1) as runtime:
        runtime.monitor.deadline_ms = 1e-6
        inputs = make_inputs(12)

        def work(_):
            for step in range(200):
                runtime(row_of(inputs, step % 12) if step % 3 else inputs)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        stats = runtime.stats()
        assert stats.calls == 1600
        assert stats.samples == stats.exits.sum() == 8 * (133 + 67 * 12)
        assert stats.over_deadline_share == 1.0
        assert len(runtime.monitor._tallies) <= 8


def test_failed_calls_count_nothing_and_leave_nothing(bundle):
    with Runtime(bundle, threads=1) as runtime:
        for _ in range(50):
            with pytest.raises(InputError):
                runtime({"x": np.zeros((1, 8), np.float64), "z": np.zeros((1, 4), np.float32)})
        assert runtime.stats().calls == 0
        runtime(make_inputs(2))
        assert len(runtime.monitor._tallies) == 1


def test_shares_between_rows_have_the_cost_of_the_budget(bundle):
    family = make_family(bundle)
    costs = np.asarray(bundle.manifest.flops_costs)
    for budget in (0.4, 0.6, 0.9):
        shares = mixed_shares(family.shares, family.position(Budget(budget)))
        assert shares @ costs == pytest.approx(budget)
        assert shares.sum() == pytest.approx(1)


def test_no_alarm_without_drift_and_one_with_it(bundle, caplog):
    family = honest_family(bundle)
    bundle.write_exits(family)
    seen = []
    with Runtime(bundle, threads=1) as runtime:
        runtime.monitor.watch(window=500, false_alarms=1e-4)
        runtime.monitor.on_drift = seen.append
        for seed in range(12):
            runtime(make_inputs(200, seed))
        quiet = runtime.stats().drift
        assert (quiet.windows, quiet.alarms, seen) == (4, 0, [])
        assert sum(quiet.observed) == pytest.approx(1)
        np.testing.assert_allclose(quiet.expected, family.shares[1], rtol=0, atol=1e-6)
        caplog.clear()
        # Small inputs make every softmax flat: hardly anything leaves early any more.
        faint = {name: np.float32(0.05) * a for name, a in make_inputs(600, seed=1).items()}
        runtime(faint)
        drift = runtime.stats().drift
        assert drift.drifting
        assert drift.alarms == 1
        assert seen == [drift]
        # While it lasts it is counted, and told no more.
        runtime(faint)
        assert runtime.stats().drift.alarms == 2
        runtime(make_inputs(600, seed=50))
        assert not runtime.stats().drift.drifting
        runtime(faint)
        assert [found.alarms for found in seen] == [1, 3]
    assert caplog.text.count("exit shares have drifted from calibration") == 2


def test_what_the_callback_raises_is_logged_and_the_answer_given(bundle, caplog):
    bundle.write_exits(make_family(bundle))

    def fails(drift):
        raise ValueError("pager is down")

    with Runtime(bundle, 0.7, threads=1) as runtime:
        runtime.monitor.watch(window=64)
        runtime.monitor.on_drift = fails
        result = runtime({name: 0 * a for name, a in make_inputs(128).items()})
        assert len(result.exits) == 128
        assert runtime.stats().drift.alarms == 1
    assert "pager is down" in caplog.text


def test_a_turned_dial_is_no_drift(bundle):
    family = honest_family(bundle)
    bundle.write_exits(family)
    ends = family.curve("flops")[[0, 2]]
    with Runtime(bundle, threads=1) as runtime:
        runtime.monitor.watch(window=890, false_alarms=1e-4)
        for seed in range(9):
            runtime.budget = (float(ends[0]), family.budget, float(ends[1]))[seed % 3]
            for row in range(100):
                runtime(row_of(make_inputs(100, seed), row))
        drift = runtime.stats().drift
    assert (drift.windows, drift.alarms) == (1, 0)
    np.testing.assert_allclose(drift.expected, family.shares.mean(axis=0), rtol=0, atol=0.01)


def test_rejected_samples_and_an_uncalibrated_dial_are_not_tested(bundle):
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, 0.36, threads=1, on_invalid="last_exit") as runtime:
        runtime.monitor.watch(window=64)
        bad = make_inputs(200)
        bad["x"][:, 0] = np.nan
        runtime(bad)
        runtime.budget = None
        runtime(make_inputs(200))
        stats = runtime.stats()
    assert stats.exits.tolist() == [0, 0, 400]
    assert stats.drift.windows == 0


@pytest.mark.parametrize("wrong", [{"window": 0}, {"false_alarms": 0.0}, {"false_alarms": 1.0}])
def test_impossible_tests_are_refused(runtime, wrong):
    with pytest.raises(InputError, match="drift cannot be tested") as caught:
        runtime.monitor.watch(**wrong)
    assert caught.value.code == "stats.drift"


def test_json_holds_plain_values(bundle):
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, 0.7, threads=1) as runtime:
        runtime(make_inputs(70))
        stats = runtime.stats()
    found = json.loads(stats.to_json())
    assert found["exits"] == stats.exits.tolist()
    assert found["cost"] == stats.cost
    assert len(found["scores"]["counts"][0]) == len(found["scores"]["edges"]) + 1
    assert found["drift"]["window"] == 1000
    assert found["drift"]["drifting"] is False
    assert found["governor"] is None


def test_the_prometheus_file(bundle, tmp_path):
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, 0.7, threads=1) as runtime:
        runtime(make_inputs(70))
        stats = replace(runtime.stats(), bundle='a "b"\\c')
    file = tmp_path / "edgeexit.prom"
    file.write_text("old")
    stats.write_prometheus(file)
    assert not list(tmp_path.glob(".*.tmp"))
    lines = file.read_text().splitlines()
    sample = re.compile(r'edgeexit_\w+\{\w+="(?:[^"\\\n]|\\.)*"(?:,\w+="[^"]*")*\} [-+.e0-9]+')
    heads = [line for line in lines if line.startswith("#")]
    assert all(sample.fullmatch(line) for line in lines if not line.startswith("#"))
    assert len(heads) == len(set(heads))
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    label = 'bundle="a \\"b\\"\\\\c"'
    assert values[f"edgeexit_samples_total{{{label}}}"] == "70"
    assert float(values[f"edgeexit_cost_mean{{{label}}}"]) == stats.cost
    left = [values[f'edgeexit_exits_total{{{label},exit="{k}"}}'] for k in (1, 2, 3)]
    assert left == [str(count) for count in stats.exits]
    top = f'edgeexit_score_total{{{label},exit="1",le="+Inf"}}'
    assert values[top] == str(stats.exits[0])


def test_a_place_that_cannot_be_written_is_an_error_of_ours(bundle, tmp_path):
    with Runtime(bundle, threads=1) as runtime, pytest.raises(ResourceError):
        runtime.stats().write_prometheus(tmp_path / "missing" / "edgeexit.prom")


def test_readers_and_writers_at_once(bundle):
    """What is read while calls are counted is never more than was answered."""
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, 0.7, threads=1) as runtime:
        stop = threading.Event()

        def work():
            while not stop.is_set():
                runtime(make_inputs(5))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        seen = [runtime.stats().samples for _ in range(200)]
        stop.set()
        for thread in threads:
            thread.join()
        stats = runtime.stats()
    assert seen == sorted(seen)
    assert seen[-1] <= stats.samples == 5 * stats.calls

"""The governor's audits and deadlines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from toy import make_inputs, write_bundle

from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.runtime.governed import (
    FakeClock,
    fine_family,
    rows_of,
    slow_down,
)


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path)


def test_audits_are_answered_by_the_last_exit_charged_and_counted(bundle):
    family = fine_family(bundle)
    bundle.write_exits(family)
    inputs = rows_of(make_inputs(4000, seed=6))
    with Runtime(bundle, 0.6, threads=1) as plain:
        every = plain.all_exits(make_inputs(4000, seed=6))
        early = [plain(one) for one in inputs[:1000]]
    assert min(len(set(result.exits)) for result in early) >= 1
    governor = Governor(0.6, audit=0.2, seed=6)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        results = [runtime(one) for one in inputs]
        stats = runtime.stats()
    assert stats.audits == pytest.approx(800, abs=4 * math.sqrt(4000 * 0.2 * 0.8))
    assert governor.state.audits == stats.audits
    assert np.mean([result.cost for result in results]) == pytest.approx(0.6, abs=0.015)
    # The truth at the settings in force: what the gates chose where no audit stood in the way.
    labels = [logits.argmax(1) for logits in every.logits]
    gone = [(row, r.exits[0]) for row, r in enumerate(results) if r.exits[0] < 3]
    wrong = sum(labels[number - 1][row] != labels[2][row] for row, number in gone)
    truth = wrong / (len(gone) + (len(results) - len(gone) - stats.audits))
    spread = math.sqrt(truth * (1 - truth) / stats.audits)
    assert stats.audit_disagreement == pytest.approx(truth, abs=4 * spread)
    assert truth > 0.05


def test_audits_do_not_look_like_drift(bundle):
    family = fine_family(bundle, samples=4000)
    bundle.write_exits(family)
    with Runtime(bundle, threads=1, governor=Governor(0.6, audit=0.2, seed=1)) as runtime:
        runtime.monitor.watch(window=1000, false_alarms=1e-4)
        for seed in range(60):
            runtime(make_inputs(100, seed))
        drift = runtime.stats().drift
        assert (drift.windows, drift.alarms) == (6, 0)
        assert runtime.stats().audits > 1000


@pytest.mark.parametrize("rows", [1, 9])
def test_an_audited_batch_keeps_each_row_its_own_answer(bundle, rows):
    bundle.write_exits(fine_family(bundle))
    inputs = make_inputs(rows, seed=3)
    with Runtime(bundle, threads=1, governor=Governor(0.6, audit=0.5, seed=0)) as runtime:
        every = runtime.all_exits(inputs).logits
        seen = set()
        for _ in range(60):
            result = runtime(inputs)
            seen |= set(result.exits.tolist())
            for row, number in enumerate(result.exits):
                np.testing.assert_allclose(
                    result.logits[row], every[number - 1][row], rtol=0, atol=1e-5
                )
        assert 3 in seen
        assert runtime.stats().audits > 10


def test_a_deadline_lets_go_what_would_be_late(bundle):
    clock = FakeClock()
    bundle.write_exits(fine_family(bundle))
    governor = Governor(1.03, clock=clock, audit=0, hysteresis=0)
    with Runtime(bundle, threads=1) as runtime:
        runtime.governor = governor
        milliseconds = [1.0, 2.0, 4.0]
        slow_down(runtime, clock, milliseconds)
        one = rows_of(make_inputs(1))[0]
        governor.deadline_ms = 10.0
        assert [runtime(one).exits[0] for _ in range(20)] == [3] * 20
        governor.deadline_ms = 6.5
        assert [runtime(one).exits[0] for _ in range(10)] == [2] * 10
        governor.deadline_ms = 2.5
        assert runtime(one).exits[0] == 1
        governor.deadline_ms = 0.5
        assert runtime(one).exits[0] == 1
        assert governor.state.cut == 12
        # One slow run does not shut a stage for ever.
        governor.deadline_ms = 10.0
        for _ in range(200):
            runtime(one)
        assert runtime(one).exits[0] == 3
        milliseconds[2] = 100.0
        assert runtime(one).exits[0] == 3
        assert runtime(one).exits[0] == 2
        milliseconds[2] = 4.0
        assert 3 in [runtime(one).exits[0] for _ in range(300)]


def test_stats_count_against_the_governors_deadline(bundle):
    bundle.write_exits(fine_family(bundle))
    governor = Governor(0.6, deadline_ms=1e-6)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        result = runtime(make_inputs(40))
        stats = runtime.stats()
        assert stats.deadline_ms == 1e-6
        assert stats.over_deadline_share == 1.0
        # The first stage always runs, and no other.
        assert (result.exits == 1).all()
        assert stats.governor["cut"] > 0

"""The governor: its law's bound for any sequence, shifts, slow devices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from families import make_family
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import make_inputs, write_bundle

from edgeexit.bundle.exits import CostTable
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.runtime.governed import (
    FakeClock,
    answer,
    fine_family,
    rows_of,
    scaled,
    slow_down,
)


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path)


@pytest.fixture(scope="module")
def family(toy_bundle):
    return make_family(toy_bundle)


# The bound


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    budget=st.floats(0.36, 1.03),
    eta=st.sampled_from([0.002, 0.01, 0.1, 0.25]),
    hysteresis=st.sampled_from([0.0, 0.005, 0.1]),
    audit=st.sampled_from([0.0, 0.02, 0.5]),
    foe=st.sampled_from(["random", "dear", "cheap", "against"]),
)
def test_any_sequence_keeps_the_bound(family, data, budget, eta, hysteresis, audit, foe):
    """Whatever an adversary answers at settings that ask the gates, the mean stays near."""
    costs = family.costs["flops"].per_exit
    governor = Governor(budget, eta=eta, hysteresis=hysteresis, audit=audit, seed=1)
    governor.attach(family, None, "here")
    wanted = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=60))
    spent = []
    for step in range(len(wanted) * 5):
        turn = governor.begin(1, 0.0)
        limit = turn.setting.limits[0]
        if turn.guide is not None or math.isnan(limit):
            exit_taken = 3
        elif limit == -math.inf:
            exit_taken = 1
        else:
            above = sum(spent) > budget * len(spent)
            exit_taken = {
                "random": wanted[step % len(wanted)], "dear": 3, "cheap": 1,
                "against": 3 if above else 1,
            }[foe]  # fmt: skip
        spent.append(costs[exit_taken - 1])
        governor.end(turn, answer(exit_taken, costs))
        state = governor.state
        assert state.mean == pytest.approx(np.mean(spent))
        assert state.bound == pytest.approx((costs[2] - costs[0]) * (1 + eta) / (eta * len(spent)))
        assert abs(state.mean - budget) <= state.bound * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(
    exits=st.lists(st.lists(st.integers(1, 3), min_size=32, max_size=32), max_size=40),
    budget=st.floats(0.36, 1.03),
)
def test_batches_of_one_size_keep_the_bound_of_their_step(family, exits, budget):
    costs = np.asarray(family.costs["flops"].per_exit)
    governor = Governor(budget, audit=0.0)
    governor.attach(family, None, "here")
    means = []
    for row in exits:
        turn = governor.begin(32, 0.0)
        limit = turn.setting.limits[0]
        taken = np.array(row)
        if math.isnan(limit) or limit == -math.inf:
            taken[:] = 3 if math.isnan(limit) else 1
        means.append(costs[taken - 1].mean())
        governor.end(turn, answer(taken, tuple(costs)))
        step = 0.25
        bound = (costs[2] - costs[0]) * (1 + step) / (step * len(means))
        assert abs(np.mean(means) - budget) <= bound * (1 + 1e-9)


# Real runtimes


@pytest.mark.parametrize("device", ["cpu", "x86"])
@pytest.mark.parametrize(("budget", "factors"), [(0.6, (1.0, 0.4, 2.0)), (0.8, (1.5, 0.6, 1.0))])
def test_the_moving_average_is_back_within_500_calls_of_a_shift(bundle, device, budget, factors):
    bundle.write_exits(fine_family(bundle))
    governor = Governor(budget, seed=3)
    with Runtime(bundle, threads=1, target=device, governor=governor) as runtime:
        for number, factor in enumerate(factors):
            inputs = rows_of(scaled(make_inputs(1600, seed=number), factor))
            costs = np.array([runtime(one).cost for one in inputs])
            averages = np.convolve(costs, np.ones(500) / 500, "valid")
            # The first one ends with the 500th call after the shift and holds all of them.
            assert np.abs(averages - budget).max() <= 0.015
            assert governor.state.recent == pytest.approx(costs[-500:].mean())
    assert governor.state.audits > 10


def test_without_a_governor_the_same_shift_misses_the_budget(bundle):
    bundle.write_exits(fine_family(bundle))
    with Runtime(bundle, 0.6, threads=1) as runtime:
        costs = [runtime(scaled(make_inputs(1600, 1), factor)).cost for factor in (1.0, 0.4)]
    assert costs[0] == pytest.approx(0.6, abs=0.02)
    assert costs[1] > 0.75


@pytest.mark.parametrize("rows", [7, 32])
def test_batches_are_governed_too(bundle, rows):
    bundle.write_exits(fine_family(bundle))
    with Runtime(bundle, threads=1, governor=Governor(0.6, seed=1)) as runtime:
        costs = [runtime(scaled(make_inputs(rows, seed), 0.4)).cost for seed in range(200)]
    assert np.mean(costs[50:]) == pytest.approx(0.6, abs=0.015)


def test_the_budget_is_changed_at_any_time(bundle):
    bundle.write_exits(fine_family(bundle))
    inputs = rows_of(scaled(make_inputs(900, seed=5), 0.5))
    governor = Governor(0.5, audit=0)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        for budget in (0.5, 0.9, 0.6):
            governor.budget = budget
            assert governor.state.calls == 0
            costs = [runtime(one).cost for one in inputs]
            assert np.mean(costs[-500:]) == pytest.approx(budget, abs=0.015)
        # What was learnt of the drift is kept: no new transient.
        governor.budget = 0.62
        assert np.mean([runtime(one).cost for one in inputs[:500]]) == pytest.approx(0.62, abs=0.03)


def test_hysteresis_moves_the_thresholds_less_often(bundle):
    bundle.write_exits(fine_family(bundle))
    inputs = rows_of(make_inputs(600, seed=5))
    moves = []
    for hysteresis in (0.0, 0.05):
        governor = Governor(0.6, hysteresis=hysteresis, audit=0)
        with Runtime(bundle, threads=1, governor=governor) as runtime:
            costs = [runtime(one).cost for one in inputs]
        moves.append(governor.state.moves)
        assert np.mean(costs) == pytest.approx(0.6, abs=0.02)
    assert moves[0] > 500
    assert moves[1] < 250


@pytest.mark.parametrize("slower", [1.0, 3.0, 0.7])
def test_milliseconds_are_held_on_a_device_that_changes_speed(bundle, slower):
    """On a fake clock; ``slower`` is what happens to the device after 1,000 calls."""
    clock = FakeClock()
    stages = np.array([1.0, 2.0, 3.0])
    family = fine_family(bundle)
    bundle.write_exits(family)
    with Runtime(bundle, threads=1) as runtime:
        table = CostTable("latency", tuple(np.cumsum(stages)), 5.5, runtime.machine.fingerprint)
        bundle.write_exits(replace(family, costs={**family.costs, "latency": table}))
        runtime.reload()
        governor = Governor("3.5ms", clock=clock, audit=0.01, seed=2)
        runtime.governor = governor
        milliseconds = list(stages)
        slow_down(runtime, clock, milliseconds)
        spent = []
        for step, one in enumerate(rows_of(make_inputs(3000, seed=8))):
            if step == 1000:
                milliseconds[:] = slower * stages
            start = clock.now
            runtime(one)
            spent.append((clock.now - start) * 1000)
        averages = np.convolve(spent, np.ones(500) / 500, "valid")
        # In units of the static model's time before: 0.015 * 5.5 ms.
        assert np.abs(averages[1500:] - 3.5).max() <= 0.015 * 5.5 * max(1.0, slower)
        # Across the change itself the average moves by no more than a few calls are worth.
        assert np.abs(averages[500:] - 3.5).max() <= 0.35
        assert governor.state.scale == pytest.approx(slower, rel=0.01)


def test_milliseconds_are_held_from_flops_alone(bundle):
    """No latency was ever calibrated: the ratio to FLOPs is learnt from the calls."""
    clock = FakeClock()
    bundle.write_exits(fine_family(bundle))
    with Runtime(bundle, threads=1) as runtime:
        runtime.governor = Governor("30ms", clock=clock, audit=0)
        slow_down(runtime, clock, [14.0, 14.0, 14.0])
        before = clock.now
        for one in rows_of(make_inputs(2000, seed=8)):
            runtime(one)
        assert (clock.now - before) / 2000 == pytest.approx(0.030, abs=0.0004)


def test_what_cannot_be_held_says_so_and_is_forgiven(bundle):
    clock = FakeClock()
    bundle.write_exits(fine_family(bundle))
    with Runtime(bundle, threads=1) as runtime:
        runtime.governor = governor = Governor("5ms", clock=clock, audit=0.5, seed=0)
        milliseconds = [6.0, 6.0, 6.0]
        slow_down(runtime, clock, milliseconds)
        exits = [runtime(one).exits[0] for one in rows_of(make_inputs(5000, seed=8))]
        assert governor.state.saturated == "cheapest"
        # Not even audits are made any more.
        assert exits[1000:] == [1] * 4000
        milliseconds[:] = [1.0, 1.0, 1.0]
        exits = [runtime(one).exits[0] for one in rows_of(make_inputs(800, seed=9))]
        assert governor.state.saturated == "dearest"
        assert exits[-100:] == [3] * 100

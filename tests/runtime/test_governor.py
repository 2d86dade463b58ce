"""The governor: its law's bound for any sequence, shifts, slow devices, meters, deadlines."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from families import make_family
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import make_inputs, write_bundle

from edgeexit.budget import Budget
from edgeexit.bundle.certificate import Certificate, CertifiedBudget
from edgeexit.bundle.exits import CostTable
from edgeexit.errors import BudgetError, InputError
from edgeexit.runtime.goals import Joules, Reserve
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.result import Result
from edgeexit.runtime.runtime import Runtime

FINE = [[t, t] for t in np.linspace(0.0, 1.05, 43).tolist()]


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path)


@pytest.fixture(scope="module")
def family(toy_bundle):
    return make_family(toy_bundle)


def fine_family(bundle, samples=2000, **changes):
    """A family of many rows whose shares are those of the toy's own inputs."""
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
    count = len(inputs["x"])
    return [{name: a[row : row + 1] for name, a in inputs.items()} for row in range(count)]


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
    """Make the stages of single samples take fake time: ``milliseconds[k]`` a stage."""
    runtime(rows_of(make_inputs(1))[0])
    lane = runtime._pool._idle[0]._lanes[1, ()]

    def timed(run, index):
        def call():
            clock.now += milliseconds[index] / 1000
            run()

        return call

    lane.runs = [timed(run, index) for index, run in enumerate(lane.runs)]


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


# Energy


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


def test_joules_an_input_are_held(bundle):
    clock = FakeClock()
    meter = FakeMeter(clock)
    bundle.write_exits(fine_family(bundle))
    governor = Governor(Joules(2.6), meter=meter, clock=clock, meter_seconds=1.0, seed=4)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        drive(runtime, meter, clock, rows_of(make_inputs(1500, seed=1)))
        for factor in (1.0, 0.5):
            inputs = rows_of(scaled(make_inputs(2500, seed=2), factor))
            drive(runtime, meter, clock, inputs[:500])
            assert drive(runtime, meter, clock, inputs[500:]) == pytest.approx(2.6, abs=0.06)
        assert governor.state.unit == "J"
        assert governor.state.recent == pytest.approx(2.6, abs=0.06)


@pytest.mark.parametrize("joules", [10000.0, 11000.0])
def test_a_reserve_lasts(bundle, joules):
    """An hour on 10 or 11 kJ: idle takes 7.2 kJ of it; the load doubles half way."""
    clock = FakeClock()
    meter = FakeMeter(clock)
    bundle.write_exits(fine_family(bundle))
    governor = Governor(
        Reserve(joules, 1.0), meter=meter, clock=clock, meter_seconds=20.0, audit=0, seed=4
    )
    inputs = rows_of(make_inputs(300, seed=1))
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        for step in range(1200):
            meter.spend(runtime(inputs[step % 300]).cost)
            clock.now += 4.0 if step < 600 else 2.0
        state = governor.state
        assert state.seconds_left == pytest.approx(0.0)
        # At the first exit alone 1,200 inputs take 1,680 J, at the last 4,960 J.
        spent = meter.joules + 2.0 * clock.now
        assert spent == pytest.approx(joules, rel=0.01)
        assert state.joules_left == pytest.approx(joules - spent, abs=100)
        clock.now += 40
        runtime(inputs[0])
        assert governor.state.seconds_left < 0


def test_an_empty_reserve_leaves_the_first_exit(bundle):
    clock = FakeClock()
    meter = FakeMeter(clock)
    bundle.write_exits(fine_family(bundle))
    governor = Governor(Reserve(5.0, 1.0), meter=meter, clock=clock, meter_seconds=0.0, audit=0.5)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        drive(runtime, meter, clock, rows_of(make_inputs(100)))
        assert [runtime(one).exits[0] for one in rows_of(make_inputs(50))] == [1] * 50
        assert governor.state.joules_left < 0
        assert governor.state.saturated == "cheapest"


def failing():
    raise OSError("no such rail")


@pytest.mark.parametrize("broken", [failing, lambda: math.nan, lambda: -1e9, lambda: "much"])
def test_a_meter_that_answers_nonsense_is_refused(bundle, broken):
    clock = FakeClock()
    meter = FakeMeter(clock)
    bundle.write_exits(fine_family(bundle))
    governor = Governor(Joules(2.6), meter=meter, clock=clock, meter_seconds=1.0, seed=4)
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        drive(runtime, meter, clock, rows_of(make_inputs(500, seed=1)))
        aim, mean = governor.state.aim, governor.state.mean
        meter.broken = broken
        drive(runtime, meter, clock, rows_of(make_inputs(12, seed=2)))
        assert governor.state.meter_faults == 1
        assert (governor.state.aim, governor.state.mean) == (aim, mean)
        meter.broken = None
        drive(runtime, meter, clock, rows_of(make_inputs(1500, seed=3)))
        assert drive(runtime, meter, clock, rows_of(make_inputs(1000, seed=4))) == pytest.approx(
            2.6, abs=0.08
        )


# Audits and deadlines


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


# Life


def test_a_certificate_is_void_under_a_governor(bundle, caplog):
    family = fine_family(bundle)
    last = len(FINE) - 1
    low, high = (float(c) for c in family.curve("flops")[[0, -1]])
    entries = (CertifiedBudget(Budget(low), 0.0), CertifiedBudget(Budget(high), float(last)))
    certificate = Certificate(0.95, "sample", 2000, 0, entries, None, None)
    bundle.write_exits(replace(family, certificate=certificate, budget=Budget(low)))
    with Runtime(bundle, threads=1) as runtime:
        governor = Governor(0.6)
        assert runtime._dial.certified == Budget(low)
        runtime.governor = governor
        assert governor.state.guarantee.startswith("voided")
        assert "voided" in caplog.text
        assert governor.begin(1, 0.0).setting.certified is None
        assert runtime.stats().governor["guarantee"].startswith("voided")
        runtime.governor = None
        assert runtime._dial.certified == Budget(low)


def test_it_takes_the_runtimes_budget_and_gives_it_back(bundle):
    bundle.write_exits(fine_family(bundle))
    with Runtime(bundle, 0.5, threads=1, governor=Governor()) as runtime:
        assert runtime.governor.budget == Budget(0.5)
        runtime.governor.budget = 0.8
        assert runtime.stats().budget == "0.8"
        assert runtime.stats().governor["goal"] == "0.8"
        runtime.governor = None
        assert runtime.budget == Budget(0.5)
        assert runtime.stats().governor is None


def test_a_reload_gives_the_governor_the_new_exits(bundle):
    family = fine_family(bundle)
    bundle.write_exits(family)
    with Runtime(bundle, threads=1, governor=Governor(0.6)) as runtime:
        before = runtime.governor.begin(1, 0.0).setting.limits
        bundle.write_exits(replace(family, thresholds=family.thresholds / 2))
        runtime.reload()
        after = runtime.governor.begin(1, 0.0).setting.limits
        assert after == pytest.approx(np.divide(before, 2).tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("goal", "code"),
    [(0.1, "budget.bounds"), (1.5, "budget.bounds"), ("soon", "budget.syntax"),
     (Joules(1.0), "governor.meter"), (Reserve(1.0, 1.0), "governor.meter")],
)  # fmt: skip
def test_goals_that_cannot_be_held_are_refused_and_the_old_one_stays(bundle, goal, code):
    bundle.write_exits(fine_family(bundle))
    with Runtime(bundle, 0.6, threads=1, governor=Governor()) as runtime:
        runtime(make_inputs(3))
        with pytest.raises(BudgetError) as caught:
            runtime.governor.budget = goal
        assert caught.value.code == code
        assert runtime.governor.budget == Budget(0.6)
        assert runtime.governor.state.calls == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Joules(0), lambda: Joules(math.inf), lambda: Reserve(1, -1),
        lambda: Reserve(math.nan, 1),
    ],
)  # fmt: skip
def test_energies_must_be_positive(make):
    with pytest.raises(BudgetError, match="cannot be held") as caught:
        make()
    assert caught.value.code == "governor.goal"


@pytest.mark.parametrize(
    "wrong",
    [{"audit": 0.6}, {"eta": 0}, {"eta": 0.3}, {"hysteresis": -1}, {"deadline_ms": 0},
     {"meter_seconds": -1}],
)  # fmt: skip
def test_arguments_out_of_bounds_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))) as caught:
        Governor(0.5, **wrong)
    assert caught.value.code == "governor.argument"


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, "8ms"])
def test_a_deadline_that_is_none_leaves_the_old_one(wrong):
    governor = Governor(0.5, deadline_ms=20)
    with pytest.raises(InputError, match="deadline_ms cannot be") as caught:
        governor.deadline_ms = wrong
    assert caught.value.code == "governor.argument"
    assert governor.deadline_ms == 20


def test_it_needs_calibrated_exits_a_goal_and_a_runtime(bundle):
    with pytest.raises(BudgetError, match="no exits") as caught:
        Runtime(bundle, threads=1, governor=Governor(0.5))
    assert caught.value.code == "budget.uncalibrated"
    bundle.write_exits(make_family(bundle, budget=None))
    with pytest.raises(BudgetError, match="no goal"):
        Runtime(bundle, threads=1, governor=Governor())
    with pytest.raises(InputError, match="no runtime"):
        _ = Governor(0.5).state


def test_threads_share_it(bundle):
    bundle.write_exits(fine_family(bundle))
    governor = Governor(0.6, seed=1)
    inputs = rows_of(scaled(make_inputs(200, seed=1), 0.5))
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        started = threading.active_count()

        def work(start):
            return [runtime(inputs[(start * 25 + step) % 200]).cost for step in range(400)]

        with ThreadPoolExecutor(8) as threads:
            costs = np.concatenate(list(threads.map(work, range(8))))
        assert threading.active_count() == started
        state = governor.state
        assert state.calls == state.inputs == 3200
        assert state.mean == pytest.approx(costs.mean())
        assert costs.mean() == pytest.approx(0.6, abs=0.015)


def test_rejected_samples_are_no_audits(bundle):
    bundle.write_exits(fine_family(bundle))
    governor = Governor(0.9, audit=0.5, seed=1)
    with Runtime(bundle, threads=1, governor=governor, on_invalid="last_exit") as runtime:
        bad = make_inputs(1)
        bad["x"][:] = np.nan
        assert [runtime(bad).exits[0] for _ in range(20)] == [3] * 20
        assert runtime.stats().audits == 0
        assert runtime.stats().audit_disagreement is None

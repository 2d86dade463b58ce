"""The estimator on machines that are simulated, so that the truth is known, and on a real meter."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter, process_time

import numpy as np
import pytest

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.cpu_time import CpuTimeMeter, PowerModel
from edgeexit.runtime.power.meter import Meter, MeterInfo
from edgeexit.runtime.power.windows import (
    IDLE,
    Windows,
    draw_order,
    fit_windows,
    measure_windows,
)

JOULES = np.array([0.010, 0.018, 0.029, 0.040])
CALL_SECONDS = np.array([0.002, 0.004, 0.006, 0.008])
WINDOW = 0.05


def simulate(order, drift, noise=0.0, seed=0, idle=5.0):
    """Windows of a machine whose idle power is ``idle + drift(share of the time that is over)``."""
    rng = np.random.default_rng(seed)
    rows, end = [], sum(len(activities) for _, activities in order) * 1.5 * WINDOW
    now = 0.0
    for number, activities in order:
        for activity in activities:
            for kind, seconds in ((activity, WINDOW), (IDLE, WINDOW / 2)):
                calls = 0 if kind == IDLE else round(seconds / CALL_SECONDS[kind])
                work = 0.0 if kind == IDLE else calls * JOULES[kind]
                watts = idle + drift((now + seconds / 2) / end)
                error = noise * np.sqrt(seconds) * rng.standard_normal()
                rows.append((number, kind, seconds, calls, watts * seconds + work + error))
                now += seconds
    columns = [np.asarray(column) for column in zip(*rows, strict=True)]
    return Windows(columns[0], columns[1], columns[2], columns[3].astype(float), columns[4])


def in_sequence(rounds):
    """All windows of one activity, then all of the next: what randomising is held against."""
    return [(number, [activity]) for activity in range(len(JOULES)) for number in range(rounds)]


def warming(share):
    return 2.0 * (1 - np.exp(-3 * share))


def linear(share):
    return 2.0 * share


def waves(share):
    return np.sin(2 * np.pi * 1.5 * share)


def test_without_noise_it_is_exact():
    fit = fit_windows(simulate(list(draw_order(4, 8)), lambda share: 0.0))
    assert fit.idle == pytest.approx(5.0, rel=1e-9)
    np.testing.assert_allclose(fit.joules, JOULES, rtol=1e-9)
    np.testing.assert_allclose(fit.joules_draws, np.tile(JOULES, (1000, 1)), rtol=1e-7)
    calls = np.round(WINDOW / CALL_SECONDS)
    np.testing.assert_allclose(fit.seconds, WINDOW / calls)


@pytest.mark.parametrize("drift", [warming, linear, waves])
def test_a_random_order_cuts_the_error_that_a_drift_makes(drift):
    def error(order, seed):
        fit = fit_windows(simulate(order, drift, noise=0.005, seed=seed))
        return np.abs(fit.joules / JOULES - 1).mean()

    ordered = [error(in_sequence(40), seed) for seed in range(30)]
    drawn = [error(list(draw_order(4, 40, seed)), seed) for seed in range(30)]
    before, after = 100 * np.mean(ordered), 100 * np.mean(drawn)
    print(f"{drift.__name__}: {before:.2f} % in sequence, {after:.2f} % at random")
    assert after < before / 4
    assert after < 1.0


def test_the_error_bars_hold_the_truth():
    inside, ratios = [], []
    for seed in range(120):
        order = list(draw_order(4, 40, seed))
        fit = fit_windows(simulate(order, warming, noise=0.05, seed=seed), seed)
        errors = fit.joules_draws.std(axis=0, ddof=1)
        inside.append(np.abs(fit.joules - JOULES) <= 1.96 * errors)
        ratios.append((fit.joules - JOULES, errors))
    share = np.mean(inside)
    spread = np.std([off for off, _ in ratios], axis=0)
    claimed = np.mean([error for _, error in ratios], axis=0)
    print(f"{100 * share:.1f} % within 1.96 errors; claimed over true {claimed / spread}")
    assert 0.88 <= share <= 0.99
    assert np.all((claimed / spread > 0.75) & (claimed / spread < 1.35))


def least_squares(windows):
    """The weighted least squares that the sums stand for, written out."""
    activities = windows.activity.max() + 1
    design = np.zeros((len(windows.joules), activities + 1))
    design[:, 0] = windows.seconds
    for activity in range(activities):
        rows = windows.activity == activity
        design[rows, activity + 1] = windows.calls[rows]
    root = 1 / np.sqrt(windows.seconds)
    return np.linalg.lstsq(design * root[:, None], windows.joules * root, rcond=None)[0]


def test_it_is_weighted_least_squares_where_calls_are_steady():
    windows = simulate(list(draw_order(4, 20)), warming, noise=0.05)
    fit = fit_windows(windows)
    np.testing.assert_allclose([fit.idle, *fit.joules], least_squares(windows), rtol=1e-8)


def test_windows_that_lost_calls_to_another_process_are_not_taken_for_idle_ones():
    windows = simulate(list(draw_order(4, 40)), lambda share: 0.0)
    lost = np.random.default_rng(0).uniform(0.3, 1.0, len(windows.calls))
    fewer = replace(windows, calls=windows.calls * lost)
    work = fewer.activity == 0
    truth = (fewer.joules - 5.0 * fewer.seconds)[work].sum() / fewer.calls[work].sum()
    fit, squares = fit_windows(fewer), least_squares(fewer)
    print(f"idle 5 W: {fit.idle:.2f} W by sums, {squares[0]:.2f} W by least squares")
    assert fit.idle == pytest.approx(5.0, rel=1e-9)
    assert fit.joules[0] == pytest.approx(truth)
    assert squares[0] > 5.5


def test_every_round_holds_every_activity_in_an_order_of_its_own():
    orders = [order for _, order in draw_order(5, 40)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len({tuple(order) for order in orders}) > 25
    assert [order for _, order in draw_order(5, 40)] == orders
    assert [order for _, order in draw_order(5, 40, seed=1)] != orders


def test_too_few_rounds_are_refused():
    windows = simulate(list(draw_order(4, 7)), warming)
    with pytest.raises(ResourceError, match="7 rounds of windows are too few") as caught:
        fit_windows(windows)
    assert caught.value.code == "energy.rounds"


def burn(seconds):
    end = process_time() + seconds
    while process_time() < end:
        pass


def test_a_real_meter_tells_two_loads_apart():
    """Processor time, the one meter that every machine has: 0.4 and 1 ms of it at 10 W a core."""
    meter = CpuTimeMeter(PowerModel(3.0, 10.0))
    done = []
    calls = [lambda: burn(0.0004), lambda: burn(0.001)]
    windows = measure_windows(meter, calls, 10, 0.02, 0.5, done.append)
    fit = fit_windows(windows)
    assert done == pytest.approx(np.arange(1, 11) / 10)
    np.testing.assert_allclose(fit.joules, [0.004, 0.010], rtol=0.15)
    assert fit.idle == pytest.approx(3.0, abs=0.5)
    assert (windows.activity == IDLE).sum() == 20
    assert windows.seconds[windows.activity != IDLE].min() >= 0.02


class Fake(Meter):
    """A meter that answers what it is given, by the clock."""

    def __init__(self, joules):
        super().__init__(MeterInfo("fake", "a fake meter", "nothing", False, 0.001), 1e6)
        self._answer, self._begun = joules, perf_counter()

    def _count(self):
        now = perf_counter()
        return self._answer(now - self._begun), now


def test_a_counter_that_freezes_while_work_runs_is_refused():
    meter = Fake(lambda seconds: min(seconds, 0.1))
    with pytest.raises(ResourceError, match=r"says 0 J in .* s of work") as caught:
        measure_windows(meter, [lambda: burn(0.0005)], 10, 0.02, 0.5)
    assert caught.value.code == "power.nonsense"

"""Energy by regression: windows of known work in random order, and what one call of each costs.

A sensor that renews every few milliseconds cannot see one call. So an activity is repeated for a
window of many sensor periods, idle windows lie between, and the joules of all windows are
explained by ``E_w = P_idle T_w + sum_k n_{w,k} e_k`` (:func:`fit_windows`). The order is drawn
anew in every round: a drift, as the machine warms up, then falls on all activities alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep

import numpy as np
import numpy.typing as npt

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.meter import Meter
from edgeexit.runtime.power.sensor_file import nonsense

Array = npt.NDArray[np.float64]

IDLE = -1
"""The activity of a window in which nothing runs."""

MIN_ROUNDS = 8
"""Rounds without which a bootstrap over rounds says nothing."""

SETTLE_PERIODS = 2
"""Sensor periods that an activity runs before its window: without them the watts of what ran
before stand in the window's first sample, which is a bias, since idle always follows work."""

_RESAMPLES = 1000


@dataclass(frozen=True)
class Windows:
    """What was measured, one entry a window, in the order of time.

    Attributes:
        rounds: ``(W,) int64`` the round from 0; each holds every activity once.
        activity: ``(W,) int64`` from 0, or :data:`IDLE`.
        seconds: ``(W,) float64``.
        calls: ``(W,) float64`` how often the activity ran, 0 for idle.
        joules: ``(W,) float64``.
    """

    rounds: npt.NDArray[np.int64]
    activity: npt.NDArray[np.int64]
    seconds: Array
    calls: Array
    joules: Array


@dataclass(frozen=True)
class Fit:
    """What explains the windows, with bootstrap draws of the same for error bars.

    Attributes:
        idle: Watts without work.
        joules: ``(A,)`` joules of a call beyond idle, by activity.
        seconds: ``(A,)`` mean seconds of a call.
        idle_draws: ``(R,)``
        joules_draws: ``(R, A)``
        seconds_draws: ``(R, A)``
    """

    idle: float
    joules: Array
    seconds: Array
    idle_draws: Array
    joules_draws: Array
    seconds_draws: Array


def draw_order(activities: int, rounds: int, seed: int = 0) -> Iterator[tuple[int, list[int]]]:
    """Yield every round's number and its activities in an order of its own."""
    rng = np.random.default_rng(seed)
    for number in range(rounds):
        yield number, [int(activity) for activity in rng.permutation(activities)]


def measure_windows(
    meter: Meter,
    calls: Sequence[Callable[[], object]],
    rounds: int,
    seconds: float,
    idle: float,
    progress: Callable[[float], None] = lambda done: None,
    seed: int = 0,
) -> Windows:
    """Run every activity once a round, each followed by an idle window.

    Args:
        meter: What counts the joules.
        calls: The activities.
        rounds: How many rounds.
        seconds: Length of an activity's window.
        idle: Length of an idle window as a share of that.
        progress: Called with the share that is done.
        seed: Of the order.

    Raises:
        ResourceError: The meter is refused: it fails, or stands still while work runs.
    """
    rows: list[tuple[int, int, float, int, float]] = []
    for number, order in draw_order(len(calls), rounds, seed):
        for activity in order:
            rows.append((number, activity, *_window(meter, calls[activity], seconds)))
            rows.append((number, IDLE, *_window(meter, None, idle * seconds)))
        meter.check_moving()
        progress((number + 1) / rounds)
    columns = [np.asarray(column) for column in zip(*rows, strict=True)]
    windows = Windows(columns[0], columns[1], columns[2], columns[3].astype(float), columns[4])
    _check_alive(windows, meter)
    return windows


def fit_windows(windows: Windows, seed: int = 0) -> Fit:
    """Return what explains the windows, and bootstrap draws of it.

    ``E_w = P_idle T_w + n_w e_k`` is made to hold on the sum of each activity's windows, idle
    among them. That is weighted least squares, with weights ``1 / T_w``, wherever all windows of an
    activity hold the same calls a second. Where they do not, as another process takes the
    processor away, least squares would read the idle power off the windows with fewer calls,
    which are no idler; sums do not care.

    The draws are a moving-block bootstrap (Kuensch 1989) over rounds, with blocks of the cube root
    of their number, so that neighbours in time, which share a drift, stay together.

    Raises:
        ResourceError: There are fewer rounds than :data:`MIN_ROUNDS`.
    """
    sums = _round_sums(windows)
    rounds = sums.shape[1]
    if rounds < MIN_ROUNDS:
        raise ResourceError(
            f"{rounds} rounds of windows are too few for an error bar: {MIN_ROUNDS} are enough.",
            hint="measure for longer.",
            code="energy.rounds",
        )
    length = max(1, round(rounds ** (1 / 3)))
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, rounds - length + 1, (_RESAMPLES, -(-rounds // length)))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(_RESAMPLES, -1)[:, :rounds]
    times = np.array([np.bincount(draw, minlength=rounds) for draw in drawn], dtype=np.float64)
    (idle,), (joules,), (seconds,) = _solve(sums, np.ones((1, rounds)))
    return Fit(float(idle), joules, seconds, *_solve(sums, times))


def _round_sums(windows: Windows) -> Array:
    """Return ``(3, rounds, A + 1)``: joules, seconds and calls of each round, idle last."""
    activities, rounds = int(windows.activity.max()) + 1, int(windows.rounds.max()) + 1
    sums = np.zeros((3, rounds, activities + 1))
    columns = (windows.joules, windows.seconds, windows.calls)
    for part, column in zip(sums, columns, strict=True):
        # The activity of an idle window, -1, is the last column.
        np.add.at(part, (windows.rounds, windows.activity), column)
    return sums


def _solve(sums: Array, times: Array) -> tuple[Array, Array, Array]:
    """Return idle watts ``(R,)``, joules ``(R, A)`` and seconds ``(R, A)`` of a call.

    Args:
        sums: As :func:`_round_sums` returns them.
        times: ``(R, rounds)`` how often each round counts.
    """
    joules, seconds, calls = (times @ part for part in sums)
    idle: Array = joules[:, -1] / seconds[:, -1]
    beyond: Array = (joules - idle[:, None] * seconds)[:, :-1] / calls[:, :-1]
    return idle, beyond, seconds[:, :-1] / calls[:, :-1]


def _window(
    meter: Meter, call: Callable[[], object] | None, seconds: float
) -> tuple[float, int, float]:
    """Return seconds, calls and joules of one window, once the activity before it is forgotten."""
    _run(call, SETTLE_PERIODS * meter.info.resolution)
    before, start = meter.read_at()
    count = _run(call, seconds)
    after, end = meter.read_at()
    return end - start, count, after - before


def _run(call: Callable[[], object] | None, seconds: float) -> int:
    """Repeat a call, or sleep, for some time; return how often it was called, at least once."""
    if call is None:
        sleep(seconds)
        return 0
    count, end = 0, perf_counter() + seconds
    while count == 0 or perf_counter() < end:
        call()
        count += 1
    return count


def _check_alive(windows: Windows, meter: Meter) -> None:
    still = (windows.activity != IDLE) & (windows.joules <= 0)
    if still.any():
        found = f"0 J in {windows.seconds[still][0]:.3g} s of work"
        raise nonsense(meter.info.source, found, "a count that rises")

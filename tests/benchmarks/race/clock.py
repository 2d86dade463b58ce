"""Blocks of images in turn: what every contestant takes for the same ones."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from time import perf_counter_ns, sleep

import numpy as np

from tests.benchmarks.measure import Times, turn
from tests.benchmarks.race.racer import Images, Racer

BLOCK = 20
"""Single images a turn: an app runs no other model between two answers."""

WARM = 3
PAUSE = 0.005
"""Seconds before a turn, not timed: idle threads of the one before may spin for a while."""

_NANOSECONDS_A_MILLISECOND = 1e6


def race(racers: Mapping[str, Racer], images: Images, batch: int, rounds: int) -> dict[str, Times]:
    """Return the milliseconds a call of every round, by name.

    Args:
        racers: Who takes part.
        images: ``(n, ...)``; each round draws its own.
        batch: Images a call. A round is one call, of single images a block of them.
        rounds: How many.
    """
    calls = BLOCK if batch == 1 else 1
    rows = _drawn(len(images), rounds * calls * batch).reshape(rounds, calls, batch)
    names = list(racers)
    for racer in racers.values():
        for _ in range(WARM):
            racer.call(racer.take(images[rows[0, 0]]))
    times = {name: np.zeros(rounds) for name in names}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            blocks = [images[each] for each in rows[number]]
            for name in turn(names, number):
                racer = racers[name]
                given = [racer.take(block) for block in blocks]
                sleep(PAUSE)
                start = perf_counter_ns()
                for each in given:
                    racer.call(each)
                spent = (perf_counter_ns() - start) / _NANOSECONDS_A_MILLISECOND
                times[name][number] = spent / calls
    finally:
        gc.enable()
    return times


def _drawn(count: int, wanted: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return rows of the images in random order, again from the start where they do not do."""
    order = np.random.default_rng(0).permutation(count)
    return np.resize(order, wanted)

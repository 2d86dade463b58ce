"""A training that is killed again and again ends with the bits of one that was left alone."""

from __future__ import annotations

import csv
import multiprocessing
import random
import time

import pytest

from edgeexit.dmpo.training.checkpoint import latest_checkpoint
from tests.dmpo.training import killed

KILLS = 6
MOST_STEPS = 5
"""Steps between two kills, at most some more: even the last one finds the training at work."""


def step_of(folder):
    place = latest_checkpoint(folder)
    return int(place.name.removeprefix("step-")) if place else 0


def steps_in(path):
    with path.open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def start():
    """Return a function that starts a training in a process of its own."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([killed.__name__])

    def begin(folder, result):
        process = processes.Process(target=killed.train, args=(str(folder), str(result)))
        process.start()
        return process

    return begin


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_equal_bits(tmp_path, start):
    whole = start(tmp_path / "whole", tmp_path / "whole.safetensors")
    chance = random.Random()
    folder, result = tmp_path / "killed", tmp_path / "killed.safetensors"
    for _ in range(KILLS):
        goal = step_of(folder) + chance.randint(1, MOST_STEPS)
        process = start(folder, result)
        while step_of(folder) < goal:
            assert process.is_alive()
        time.sleep(chance.uniform(0.0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -9
    last = start(folder, result)
    for process in (last, whole):
        process.join()
        assert process.exitcode == 0
    assert result.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert steps_in(folder / "steps.csv") == list(range(1, killed.STEPS + 1))
    assert steps_in(folder / "epochs.csv") == list(range(10, killed.STEPS + 1, 10))

"""Modes measured in turn: what runs in each, and where a mode is left out. Never times."""

from __future__ import annotations

import numpy as np
import pytest
from families import make_family
from toy import make_inputs, write_bundle

from edgeexit.bundle.specs import Compaction
from edgeexit.datasets import Dataset
from edgeexit.runtime.bench_modes import compare_modes
from edgeexit.runtime.runtime import Runtime

ROUNDS, WARM = 3, 2


@pytest.fixture
def dataset():
    return Dataset(make_inputs(80), None, None, None, "0" * 64)


def found(runtime, dataset, *batches):
    return compare_modes(runtime, dataset, batches=batches, rounds=ROUNDS)


def test_every_mode_answers_the_same_samples(tmp_path, dataset):
    bundle = write_bundle(tmp_path)
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, 0.6, threads=1) as runtime:
        alone = runtime(dataset.inputs).exits
        with runtime.profile() as profile:
            speeds = found(runtime, dataset, 8)
        summary = profile.summary()
    assert [(s.mode, s.batch) for s in speeds] == [
        ("single", 8), ("compacted", 8), ("whole", 8),
    ]  # fmt: skip
    turns = 2 * (ROUNDS + WARM)
    # Eight single calls, one that finds the hardest sample, one that shrinks, one that waits.
    assert (summary.calls, summary.samples) == (11 * turns, 32 * turns)
    order = np.random.default_rng(0)
    expected = np.zeros(3, np.int64)
    for _ in range(turns):
        exits = alone[order.integers(0, 80, 8)]
        expected += 3 * np.bincount(exits - 1, minlength=3)
        expected[exits.max() - 1] += 8
        order.permutation(5)
    assert summary.exits.tolist() == expected.tolist()


def test_what_is_told_of_a_mode(tmp_path, dataset):
    bundle = write_bundle(tmp_path)
    with Runtime(bundle, threads=1) as runtime:
        speeds = found(runtime, dataset, 1, 4)
    assert [(s.mode, s.batch) for s in speeds] == [
        ("single", 1), ("single", 4), ("compacted", 4), ("whole", 4),
    ]  # fmt: skip
    for speed in speeds:
        assert min(speed.milliseconds, speed.static) > 0
        assert speed.ratio.low <= speed.ratio.median <= speed.ratio.high
        assert speed.ratio.pairs == ROUNDS
    # Both stand beside the static model at the same batch.
    assert speeds[2].static == speeds[3].static != speeds[1].static


def test_batches_that_do_not_run_at_once_are_run_one_by_one(tmp_path, dataset):
    mixed = write_bundle(tmp_path, compaction=Compaction(False, "rows are mixed"))
    with Runtime(mixed, threads=1) as runtime:
        assert [s.mode for s in found(runtime, dataset, 4)] == ["single"]
    (tmp_path / "large").mkdir()
    with Runtime(write_bundle(tmp_path / "large"), threads=1) as runtime:
        assert max(runtime.machine.buckets) == 32
        assert [s.mode for s in found(runtime, dataset, 40)] == ["single"]

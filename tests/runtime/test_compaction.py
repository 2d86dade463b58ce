"""At which size a batch goes on: chosen by measured times, and never changing an answer."""

from __future__ import annotations

import numpy as np
import pytest
from families import make_family
from toy import make_inputs, write_bundle

from edgeexit.bundle.codec import encode
from edgeexit.runtime.compaction import SizeChoice
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.power.conditions import Conditions
from edgeexit.runtime.profile import BatchProfile, DeviceProfile, measure_profile
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.timing import TimeStats

BUCKETS = (1, 2, 4, 8, 12, 16, 32)


def _batch(size, stages, move=0.0):
    """Made-up times of one size: milliseconds a stage, and of each move."""
    every = tuple(TimeStats(9, t, t, t, t, t, t) for t in stages)
    whole = TimeStats(9, *(float(sum(stages)),) * 6)
    return BatchProfile(size, every, whole, whole, (move,) * (len(stages) - 1))


def _choice(time, move=0.0, sizes=BUCKETS):
    return SizeChoice(BUCKETS, [_batch(size, (time(size),) * 3, move) for size in sizes])


def test_without_times_samples_move_to_the_smallest_size():
    for choice in (SizeChoice(BUCKETS), _choice(float, sizes=(1,))):
        for present in BUCKETS:
            for rows in range(1, present + 1):
                wanted = min(size for size in BUCKETS if size >= rows)
                assert choice.after(0, rows, present) == wanted
                assert choice.first(rows) == wanted


def test_times_that_grow_with_the_size_change_nothing():
    choice = _choice(lambda size: 1.0 + size)
    assert [choice.after(0, rows, 32) for rows in (1, 3, 9, 13, 17)] == [1, 4, 12, 16, 32]


def test_a_move_that_costs_more_than_it_saves_is_left_out():
    # After the first of three stages two are ahead, after the second one: 2 ms or 1 ms to save.
    choice = _choice(lambda size: 10.0 + (size == 32), move=1.9)
    assert choice.after(0, 9, 32) == 12
    assert choice.after(1, 9, 32) == 32
    assert choice.after(1, 9, 16) == 16
    assert _choice(lambda size: 10.0 + (size == 32), move=3.0).after(0, 9, 32) == 32


def test_a_larger_size_that_is_faster_is_taken_from_the_start_too():
    choice = _choice(lambda size: 5.0 if size == 12 else float(size), move=0.1)
    assert choice.after(0, 9, 32) == 12
    assert choice.after(0, 8, 32) == 12
    assert choice.after(0, 4, 32) == 4
    assert choice.first(7) == 12
    assert choice.after(0, 8, 8) == 8


def test_what_lies_within_the_drift_of_a_machine_is_no_reason():
    assert _choice(lambda size: 9.8 if size == 16 else 10.0).after(0, 9, 32) == 12
    assert _choice(lambda size: 9.6 if size == 16 else 10.0).after(0, 9, 32) == 16


def test_sizes_between_measured_ones_lie_on_the_line_and_none_beyond():
    choice = _choice(lambda size: 10.0, move=1.0, sizes=(1, 16))
    assert choice.after(0, 5, 16) == 16
    assert choice.after(0, 5, 32) == 8
    assert choice.first(17) == 32
    narrow = SizeChoice((8, 12), [_batch(1, (1.0, 1.0)), _batch(10, (1.0, 1.0))])
    assert narrow.first(9) == 12


def test_the_choice_is_the_cheapest_of_all():
    rng = np.random.default_rng(3)
    times, moves = rng.uniform(1, 9, (len(BUCKETS), 4)), rng.uniform(0, 3, len(BUCKETS))
    every = zip(BUCKETS, times, moves, strict=True)
    choice = SizeChoice(BUCKETS, [_batch(size, row, float(move)) for size, row, move in every])
    for index in range(3):
        for present in BUCKETS:
            for rows in range(1, present + 1):
                costs = {
                    size: row[index + 1 :].sum() + (move if size < present else 0)
                    for size, row, move in zip(BUCKETS, times, moves, strict=True)
                    if rows <= size <= present
                }
                taken = choice.after(index, rows, present)
                assert costs[taken] * 0.97 <= min(costs.values())
                assert taken in (min(costs), min(costs, key=costs.__getitem__))


@pytest.mark.parametrize("device", ["cpu", "x86"])
@pytest.mark.parametrize(
    ("time", "move", "sizes"),
    [
        (lambda size: 1.0 + size, 0.0, [32, 12, 4]),
        (lambda size: 1.0, 1.0, [32, 32, 32]),
        (lambda size: 2.0 if size == 16 else float(size), 0.1, [32, 16, 16]),
    ],
    ids=["alone", "stay", "padded"],
)
def test_answers_are_the_same_whatever_is_chosen(tmp_path, monkeypatch, device, time, move, sizes):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    bundle = write_bundle(tmp_path)
    bundle.write_exits(make_family(bundle))
    inputs = make_inputs(30)
    forced = np.array([1] * 20 + [2] * 7 + [3] * 3)
    with Runtime(bundle, 0.7, target=device, threads=1) as plain:
        wanted, told = plain(inputs), plain.run_to(inputs, forced)
    _keep(Machine.of(bundle, device, 1), time, move)
    with Runtime(bundle, 0.7, target=device, threads=1) as runtime:
        found = runtime(inputs)
        with runtime.profile() as profile:
            again = runtime.run_to(inputs, forced)
    assert [stage.slots for stage in profile.summary().stages] == sizes
    for one, other in ((wanted, found), (told, again)):
        np.testing.assert_array_equal(one.exits, other.exits)
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-6)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
    assert set(wanted.exits.tolist()) == {1, 2, 3}


def test_a_profile_measures_moves_and_the_next_runtime_goes_by_it(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    bundle = write_bundle(tmp_path)
    with Runtime(bundle, threads=1) as runtime:
        profile = measure_profile(runtime, (8, 32), seconds=0.01)
    for batch in profile.batches:
        assert len(batch.moves) == 2
        assert all(0 < move < batch.call.p99 + 1 for move in batch.moves)


def test_a_profile_of_other_stages_counts_as_none(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    bundle = write_bundle(tmp_path)
    machine = Machine.of(bundle, "cpu", 1)
    _keep(machine, lambda size: 1.0, 1.0)
    cache = machine.cache
    assert SizeChoice.of_cache(cache, BUCKETS, 3).after(0, 5, 32) == 32
    assert SizeChoice.of_cache(cache, BUCKETS, 4).after(0, 5, 32) == 8


def _keep(machine, time, move):
    """Keep a made-up profile for this device."""
    calm = Conditions(0.1, (), (), None)
    sizes = (1, *machine.buckets[1:])
    batches = tuple(_batch(size, (float(time(size)),) * 3, float(move)) for size in sizes)
    profile = DeviceProfile(machine.fingerprint, batches, calm, calm)
    machine.cache.write_json("profile", encode(profile))

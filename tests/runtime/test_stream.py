"""Streams: order, equal answers, fewer stage runs, bounds, faults, early ends."""

from __future__ import annotations

import gc
import itertools
import weakref

import numpy as np
import pytest
from families import make_family
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import make_inputs, make_sequences, seq_reference, write_bundle

from edgeexit.bundle.specs import Compaction
from edgeexit.errors import InputError, ResourceError, TargetError
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    bundle = write_bundle(tmp_path_factory.mktemp("stream"))
    bundle.write_exits(make_family(bundle))
    return bundle


@pytest.fixture(scope="module", params=["cpu", "x86"])
def opened(request, bundle):
    with Runtime(bundle, 0.7, target=request.param, threads=1) as runtime:
        yield runtime


def samples(count, seed=0):
    inputs = make_inputs(count, seed)
    return [{name: array[row] for name, array in inputs.items()} for row in range(count)]


def check_equal(results, wanted, tolerance=1e-6):
    assert len(results) == len(wanted)
    for result, one in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(result.exits, one.exits)
        np.testing.assert_allclose(result.logits, one.logits, rtol=0, atol=tolerance)
        np.testing.assert_allclose(result.scores, one.scores, rtol=0, atol=tolerance)
        assert set(result.outputs) == set(one.outputs)
        for name, array in one.outputs.items():
            np.testing.assert_allclose(result.outputs[name], array, rtol=0, atol=tolerance)
        assert result.exit_costs == one.exit_costs
        assert result.logits.shape == one.logits.shape


class Source:
    """An iterator that counts what was taken from it."""

    def __init__(self, items):
        self.items = iter(items)
        self.taken = 0

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self.items)
        self.taken += 1
        return item


@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 200])
def test_answers_come_in_order_and_equal_single_calls(opened, count):
    items = samples(count, seed=count)
    wanted = [opened(item) for item in items]
    if count == 200:
        assert {int(one.exits[0]) for one in wanted} == {1, 2, 3}
    check_equal(list(opened.stream(items)), wanted)
    assert opened.stats().samples >= 2 * count


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 90), batch=st.integers(1, 40), depth=st.integers(1, 5),
    wait=st.sampled_from([None, 0.0, 1000.0]), seed=st.integers(0, 3),
)  # fmt: skip
def test_any_batch_depth_and_wait_give_the_same_answers(opened, count, batch, depth, wait, seed):
    items = samples(count, seed)
    source = Source(items)
    results = []
    for result in opened.stream(source, batch=batch, depth=depth, wait_ms=wait):
        results.append(result)
        # Those not handed out yet are never more than was asked for.
        assert source.taken - len(results) <= batch * depth
    check_equal(results, [opened(item) for item in items])


def test_no_bit_differs_between_a_stream_and_a_batch_that_fill_the_same_buckets(bundle):
    """One bucket of eight: a row's numbers do not depend on the rows beside it."""
    with Runtime(bundle, 0.7, target="cpu", threads=1, max_batch=8) as runtime:
        inputs = make_inputs(8, seed=5)
        inputs = {name: np.repeat(array, 8, axis=0) for name, array in inputs.items()}
        items = [{name: array[row] for name, array in inputs.items()} for row in range(64)]
        streamed = list(runtime.stream(items))
        # Eight equal rows in each batch: all leave together, and every stage runs on eight.
        for start in range(0, 64, 8):
            eight = runtime({name: array[start : start + 8] for name, array in inputs.items()})
            for row in range(8):
                assert streamed[start + row].exits[0] == eight.exits[row]
                np.testing.assert_array_equal(streamed[start + row].logits[0], eight.logits[row])


def test_deep_stages_run_less_often(bundle):
    items = samples(640, seed=9)
    inputs = make_inputs(640, seed=9)
    with Runtime(bundle, 0.7, threads=1, max_batch=32) as runtime:
        with runtime.profile() as plain:
            exits = np.concatenate(
                [
                    runtime({n: a[start : start + 32] for n, a in inputs.items()}).exits
                    for start in range(0, 640, 32)
                ]
            )
        with runtime.profile() as profile:
            streamed = list(runtime.stream(items, batch=32, depth=8))
    reached = [int((exits >= stage).sum()) for stage in (1, 2, 3)]
    assert reached[0] == 640 > reached[1] > reached[2] > 0
    assert [stage.runs for stage in plain.summary().stages] == [20, 20, 20]
    runs = [stage.runs for stage in profile.summary().stages]
    assert [result.exits[0] for result in streamed] == exits.tolist()
    assert runs[0] == 20
    for stage in (1, 2):
        # Full batches, but for one at the end of the stream and few that the depth forced.
        assert -(-reached[stage] // 32) <= runs[stage] <= -(-reached[stage] // 32) + 2
    assert runs[2] < 20


def test_with_no_time_to_wait_every_sample_runs_alone(bundle):
    with Runtime(bundle, 0.7, threads=1) as runtime, runtime.profile() as profile:
        exits = [int(r.exits[0]) for r in runtime.stream(samples(20), batch=8, wait_ms=0)]
        stages = profile.summary().stages
    assert [stage.runs for stage in stages] == [sum(e >= k for e in exits) for k in (1, 2, 3)]


def test_nothing_is_taken_before_it_is_asked_for(opened):
    source = Source(samples(500))
    stream = opened.stream(source, batch=4, depth=2)
    assert source.taken == 0
    next(stream)
    assert source.taken <= 8
    stream.close()
    assert source.taken <= 8


def test_an_endless_iterator_is_fine(opened):
    items = samples(7)
    stream = opened.stream(itertools.cycle(items), batch=4)
    wanted = [opened(item) for item in items]
    check_equal(list(itertools.islice(stream, 70)), wanted * 10)
    stream.close()


def test_an_iterator_may_use_its_memory_again(opened):
    items = samples(50)
    memory = {name: np.empty_like(array) for name, array in items[0].items()}

    def camera():
        for item in items:
            for name, array in item.items():
                memory[name][...] = array
            yield memory

    check_equal(list(opened.stream(camera(), batch=8)), [opened(item) for item in items])


@pytest.mark.parametrize("place", [0, 5, 13])
def test_a_wrong_item_is_named_after_those_before_it(opened, place):
    items = samples(20)
    items[place] = {"x": items[place]["x"].astype(np.float64), "z": items[place]["z"]}
    results = []
    with pytest.raises(InputError, match=f"item {place}: input 'x' has type float64") as caught:
        results.extend(opened.stream(items, batch=4))
    assert caught.value.code == "input.dtype"
    check_equal(results, [opened(item) for item in items[:place]])


def test_a_batch_is_no_item(opened):
    with pytest.raises(InputError, match=r"item 1: .* is one sample, .* holds 3"):
        list(opened.stream([samples(1)[0], make_inputs(3)]))


def test_an_iterator_that_fails_is_named_too(opened):
    def camera():
        yield from samples(6)
        raise OSError("the cable is loose")

    results = []
    with pytest.raises(InputError, match="item 6: the iterator failed: OSError: the") as caught:
        results.extend(opened.stream(camera(), batch=4))
    assert caught.value.code == "stream.source"
    assert isinstance(caught.value.__cause__, OSError)


def test_an_interrupt_is_not_dressed_up(opened):
    def camera():
        yield from samples(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(opened.stream(camera()))


def test_a_stage_that_fails_names_its_items(bundle):
    with Runtime(bundle, threads=1) as runtime:
        runtime.budget = None
        stream = runtime.stream(samples(3), batch=1)
        next(stream)
        lane = runtime._pool._idle[0]._lanes[1, ()]
        lane._runners[1].release()
        with pytest.raises(TargetError, match="items 1, stage 2: "):
            next(stream)
        # The spoilt buffers are gone, and the stream is over.
        assert list(stream) == []
        assert runtime(samples(1)[0]).exits[0] == 3


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"depth": 0}, {"wait_ms": -1.0}])
def test_arguments_out_of_bounds_are_refused_at_once(opened, wrong):
    with pytest.raises(InputError, match="a stream cannot have") as caught:
        opened.stream([], **wrong)
    assert caught.value.code == "stream.argument"


def test_what_cannot_be_iterated_over_is_refused_at_once(opened):
    with pytest.raises(InputError, match="a int cannot be iterated over") as caught:
        opened.stream(5)
    assert caught.value.code == "stream.items"


def test_closing_early_frees_everything(bundle):
    with Runtime(bundle, 0.7, threads=1) as runtime:
        source = Source(samples(100))
        gone = weakref.ref(source)
        stream = runtime.stream(source, batch=8)
        del source
        next(stream)
        # Between two results no worker is held: others may use the runtime, or close it.
        assert (len(runtime._pool._idle), runtime._pool._callers) == (1, [])
        stream.close()
        gc.collect()
        assert gone() is None
    stream = runtime.stream(samples(3))
    with pytest.raises(ResourceError, match="closed"):
        next(stream)


def test_a_runtime_closes_under_a_stream_that_is_not_asked(bundle):
    with Runtime(bundle, 0.7, threads=1) as runtime:
        stream = runtime.stream(samples(100), batch=8, depth=2)
        next(stream)
    with pytest.raises(ResourceError, match="closed"):
        list(stream)


def test_without_compaction_samples_run_one_by_one(tmp_path):
    bundle = write_bundle(tmp_path, compaction=Compaction(False, "w1 has no batch axis"))
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, 0.7, threads=1) as runtime:
        items = samples(12)
        results = list(runtime.stream(items, batch=8))
        wanted = [runtime(item) for item in items]
        for result, one in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(result.logits, one.logits)


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_samples_of_other_sizes_share_no_stage(seq_bundle, device):
    with Runtime(seq_bundle, target=device, threads=1) as runtime:
        rng = np.random.default_rng(3)
        items = [make_sequences(1, int(n), seed=int(n))[0] for n in rng.integers(1, 5, 60)]
        results = list(runtime.stream(items, batch=8))
    assert len(results) == 60
    for item, result in zip(items, results, strict=True):
        wanted = seq_reference({"x": item[None]})["logits3"]
        np.testing.assert_allclose(result.logits, wanted, rtol=0, atol=2e-6)


def test_rejected_samples_go_to_the_last_exit_and_are_marked(bundle):
    with Runtime(bundle, 0.36, threads=1, on_invalid="last_exit") as runtime:
        items = samples(9)
        items[4]["x"][0] = np.nan
        results = list(runtime.stream(items, batch=4))
    assert [int(result.exits[0]) for result in results] == [1, 1, 1, 1, 3, 1, 1, 1, 1]
    assert [bool(result.valid[0]) for result in results] == [True] * 4 + [False] + [True] * 4


def test_a_turned_dial_and_a_governor_act_on_a_stream(bundle):
    items = samples(3000, seed=4)
    with Runtime(bundle, 1.03, threads=1) as runtime:
        stream = runtime.stream(itertools.cycle(items), batch=8)
        before = [next(stream).exits[0] for _ in range(100)]
        runtime.budget = 0.36
        after = [next(stream).exits[0] for _ in range(200)][100:]
        stream.close()
        assert before.count(3) > 90
        assert set(after) == {1}
        runtime.governor = governor = Governor(0.6)
        costs = [result.cost for result in runtime.stream(items, batch=8)]
        assert np.mean(costs) == pytest.approx(0.6, abs=0.02)
        assert governor.state.inputs == 3000
        assert governor.state.mean == pytest.approx(np.mean(costs))
        stats = runtime.stats()
        assert stats.samples == stats.exits.sum() >= 3300

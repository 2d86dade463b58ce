"""A whole Runtime over the fake GPU, beside one on ONNX Runtime: batches, threads, the end.

The arithmetic is ONNX Runtime's in both. What is shown is that our buffers, bindings, compaction
and waits bring every number where it belongs, not what TensorRT would compute.
"""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
from fake_target import FakeTarget
from families import make_family
from toy import make_inputs, make_sequences, write_bundle

from edgeexit.errors import InputError
from edgeexit.runtime.runtime import Runtime
from edgeexit.targets.registry import get_target
from edgeexit.targets.tensorrt.buffers import DeviceBuffer

TOLERANCE = {"rtol": 0, "atol": 2e-6}
THREADS = 8


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    bundle = write_bundle(tmp_path_factory.mktemp("fake"))
    bundle.write_exits(make_family(bundle))
    return bundle


@pytest.fixture
def target(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    made = FakeTarget()
    monkeypatch.setattr(
        "edgeexit.runtime.machine.get_target",
        lambda name: made if name == "tensorrt" else get_target(name),
    )
    return made


@pytest.fixture
def runtime(bundle, target):
    with Runtime(bundle, 0.7, target="jetson") as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(bundle):
    with Runtime(bundle, 0.7, target="cpu", threads=1) as opened:
        yield opened


def same(found, expected, **tolerance):
    np.testing.assert_array_equal(found.exits, expected.exits)
    check = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    check(found.logits, expected.logits, **tolerance)
    check(found.scores, expected.scores, **tolerance)
    assert found.outputs.keys() == expected.outputs.keys()
    for name, value in expected.outputs.items():
        check(found.outputs[name], value, **tolerance)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16, 17, 40])
def test_it_answers_as_onnx_runtime_does(runtime, reference, rows):
    for seed in range(6):
        inputs = make_inputs(rows, seed)
        expected = reference(inputs)
        same(runtime(inputs), expected, **TOLERANCE)
        for name in ("logits", "features", "scores"):
            pairs = zip(
                getattr(runtime.all_exits(inputs), name),
                getattr(reference.all_exits(inputs), name),
                strict=True,
            )
            for found, wanted in pairs:
                np.testing.assert_allclose(found, wanted, **TOLERANCE)


def test_any_pattern_of_exits_gives_each_row_its_own_answer(runtime, reference, target):
    random = np.random.default_rng(5)
    for seed in range(40):
        rows = int(random.integers(2, 40))
        inputs, exits = make_inputs(rows, seed), random.integers(1, 4, rows)
        same(runtime.run_to(inputs, exits), reference.run_to(inputs, exits), **TOLERANCE)
    # Rows were taken by copies and by the gather engine, and every stage by a graph.
    assert target.cuda.calls["copy_2d"] > 40
    assert target.cuda.calls["launch"] > 100


def test_samples_on_several_rows_of_several_symbols(tmp_path, target):
    bundle = write_bundle(tmp_path / "seq", name="seq")
    with Runtime(bundle, target="jetson") as found, Runtime(bundle, target="cpu") as wanted:
        for length in (2, 9, 2, 5):
            x = make_sequences(5, length, seed=length)
            same(found(x), wanted(x), **TOLERANCE)


class OnDevice:
    """Another library's array on the fake GPU."""

    def __init__(self, array, target):
        session = target._session()
        self.held = DeviceBuffer(session, str(array.dtype), array.shape)
        self.held.write(array)
        self.shape, self.dtype = array.shape, f"library.{array.dtype}"

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, stream=None):
        return self.held.__dlpack__(stream=stream)


@pytest.mark.parametrize("rows", [1, 2, 5, 16, 37])
def test_arrays_on_the_gpu_are_answered_as_those_of_the_host(runtime, target, rows):
    inputs = make_inputs(rows, seed=rows)
    expected = runtime(inputs)
    there = {name: OnDevice(array, target) for name, array in inputs.items()}
    same(runtime(there), expected)
    same(runtime({"x": there["x"], "z": inputs["z"]}), expected)
    # They are not searched for what is not finite.
    bad = {**inputs, "z": np.full_like(inputs["z"], np.nan)}
    with pytest.raises(InputError, match="not finite"):
        runtime(bad)
    assert runtime({**there, "z": OnDevice(bad["z"], target)}).logits.shape == (rows, 5)


def test_arrays_on_the_gpu_that_do_not_fit(runtime, target, reference):
    inputs = make_inputs(2)
    there = {name: OnDevice(array, target) for name, array in inputs.items()}
    with pytest.raises(InputError, match="'x' has type float64, but the model takes float32"):
        runtime({**there, "x": OnDevice(inputs["x"].astype(np.float64), target)})
    with pytest.raises(InputError, match="x"):
        runtime({**there, "x": OnDevice(inputs["x"][0], target)})
    there["x"].__class__ = type("CpuArray", (OnDevice,), {"__dlpack_device__": lambda _: (1, 0)})
    for other in (runtime, reference):
        with pytest.raises(InputError, match="'x' is a CpuArray, not a numpy array") as caught:
            other(there)
        assert "numpy.asarray" in caught.value.hint
    with pytest.raises(InputError, match="'x' is a OnDevice, not a numpy array"):
        reference({name: OnDevice(array, target) for name, array in inputs.items()})


def test_one_sample_costs_one_wait_an_exit(runtime, target):
    inputs = make_inputs(1)
    for _ in range(3):
        runtime.run_to(inputs, 3)
    cuda = target.cuda
    names = ("event_synchronize", "stream_synchronize", "copy", "launch", "event_record")
    before = [cuda.calls[name] for name in names]
    runtime.run_to(inputs, 3)
    spent = [cuda.calls[name] - held for name, held in zip(names, before, strict=True)]
    # Three stages: three launches and records; the copies are those of the two inputs alone.
    assert spent == [3, 0, 2, 3, 3]


def test_threads_answer_bit_for_bit_as_one_does(runtime):
    calls = [make_inputs(rows, seed) for seed, rows in enumerate((1, 1, 5, 1, 16, 3, 1, 9))]
    serial = [runtime(inputs) for inputs in calls]
    wrong: list[object] = []

    def work(start: int) -> None:
        try:
            for turn in range(12):
                which = (start + turn) % len(calls)
                same(runtime(calls[which]), serial[which])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_weights_are_held_once_for_single_samples_and_batches(runtime, target):
    runtime(make_inputs(1))
    runtime(make_inputs(9))
    stages = 3
    assert target.api.deserialized in (stages, stages + 1)  # and the gather engine
    assert len(target.kept) in (stages, stages + 1)


def test_turning_the_dial_reaches_the_gates(runtime, reference):
    inputs = make_inputs(16)
    for budget in (0.45, 0.9, 0.7):
        runtime.budget = reference.budget = budget
        same(runtime(inputs), reference(inputs), **TOLERANCE)


def test_closing_frees_every_allocation(bundle, target):
    with Runtime(bundle, 0.7, target="jetson") as runtime:
        for rows in (1, 9, 1, 16):
            runtime(make_inputs(rows))
        assert target.cuda.live()["device_blocks"] > 10
    gc.collect()
    assert set(target.cuda.live().values()) == {0}
    cuda = target.cuda.calls
    pairs = (
        ("malloc", "free"),
        ("host_alloc", "free_host"),
        ("event_create", "event_destroy"),
        ("instantiate", "exec_destroy"),
    )
    for made, freed in pairs:
        assert cuda[made] == cuda[freed] > 0


def test_opening_and_closing_leaves_nothing_behind(bundle, target):
    with Runtime(bundle, 0.7, target="jetson") as runtime:
        runtime(make_inputs(5))
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(10):
        with Runtime(bundle, 0.7, target="jetson") as runtime:
            runtime(make_inputs(1))
        gc.collect()
        assert set(target.cuda.live().values()) == {0}
    target.cuda.log.clear()
    target.cuda.freed.clear()
    gc.collect()
    assert len(gc.get_objects()) - before < 300


def test_larger_batches_than_engines_are_built_for_are_cut(bundle, target, reference):
    with Runtime(bundle, 0.7, target="jetson", max_batch=64) as runtime:
        assert runtime.machine.largest_batch == runtime.machine.buckets[-1] == 16
        inputs = make_inputs(40, 3)
        same(runtime(inputs), reference(inputs), **TOLERANCE)

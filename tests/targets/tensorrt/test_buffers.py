"""Buffers over a fake CUDA that does its work as late as it may, on memory that begins as garbage.

What passes here waits where it must; that CUDA itself keeps the order of a stream is CUDA's word.
"""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from fake_cuda import GARBAGE, FakeCuda
from fake_tensorrt import FakeApi

from edgeexit.errors import InputError, TargetError
from edgeexit.targets.buffer import HostBuffer
from edgeexit.targets.tensorrt.buffers import DeviceBuffer, Mirror, MirroredBuffer
from edgeexit.targets.tensorrt.session import Session
from edgeexit.targets.tensorrt.stream import Stream

DTYPES = ("float32", "float16", "bfloat16", "int64", "int32", "int8", "bool")


@pytest.fixture
def cuda():
    return FakeCuda()


@pytest.fixture
def session(cuda):
    return Session(cuda, FakeApi(cuda), lambda: b"")


def values(buffer, seed=0):
    numbers = np.random.default_rng(seed).integers(0, 2, buffer.shape)
    return numbers.astype(buffer.storage)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (700, 33)])
def test_memory_begins_as_zeros_and_holds_what_is_written(session, dtype, shape):
    buffer = DeviceBuffer(session, dtype, shape)
    assert buffer.host().shape == shape
    assert buffer.host().dtype == buffer.storage
    assert not buffer.host().any()
    array = values(buffer)
    buffer.write(array)
    array_before = array.copy()
    array[...] = 0
    np.testing.assert_array_equal(buffer.host(), array_before)
    assert buffer.address % 256 == 0


def test_what_host_returns_is_a_copy(session):
    buffer = DeviceBuffer(session, "float32", (4,))
    first = buffer.host()
    buffer.write(np.ones(4, np.float32))
    assert not first.any()
    assert buffer.host().all()


def test_the_fake_does_catch_a_missing_wait(cuda):
    """The control: without a wait, the fake's memory still holds what it began with."""
    stream = Stream(cuda)
    memory = stream.device_memory(64)
    assert (cuda.view(memory.address, 64) == GARBAGE).all()
    stream.wait(stream.issued)
    assert not cuda.view(memory.address, 64).any()


def test_writing_again_before_the_copy_has_run_does_not_corrupt_it(session, cuda):
    buffer, seen = DeviceBuffer(session, "float32", (8,)), DeviceBuffer(session, "float32", (8,))
    third = DeviceBuffer(session, "float32", (8,))
    for each in (buffer, seen, third):
        assert each.address
    buffer.write(np.full(8, 1, np.float32))
    seen.copy(buffer)
    waits = cuda.calls["event_synchronize"]
    buffer.write(np.full(8, 2, np.float32))
    assert cuda.calls["event_synchronize"] == waits + 1
    third.copy(buffer)
    assert (seen.host() == 1).all()
    assert (third.host() == 2).all()
    # All of that is done: no wait is left to make.
    waits = cuda.calls["event_synchronize"]
    buffer.write(np.full(8, 3, np.float32))
    assert cuda.calls["event_synchronize"] == waits


def test_a_buffer_of_the_host_is_copied_as_an_array(session):
    source, target = HostBuffer("float32", (3,)), DeviceBuffer(session, "float32", (3,))
    source.write(np.arange(3, dtype=np.float32))
    target.copy(source)
    np.testing.assert_array_equal(target.host(), [0, 1, 2])
    back = HostBuffer("float32", (3,))
    back.copy(target)
    np.testing.assert_array_equal(back.host(), [0, 1, 2])
    with pytest.raises(InputError, match="neither a numpy array nor one on the GPU"):
        target.write(source)


def test_a_buffer_written_from_another_is_copied_on_the_device(session, cuda):
    source, target = (DeviceBuffer(session, "bfloat16", (6, 2)) for _ in range(2))
    source.write(values(source))
    pinned = cuda.calls["host_alloc"]
    target.copy(source)
    assert cuda.calls["host_alloc"] == pinned
    np.testing.assert_array_equal(target.host(), values(source))
    with pytest.raises(InputError, match=r"shape \(6, 2\) does not fit .* \(2, 6\)"):
        DeviceBuffer(session, "bfloat16", (2, 6)).copy(source)


def mirrored(session, shapes=((3,), (2, 5))):
    moment = session.stream.moment()
    mirror = Mirror(session, 256 * len(shapes), moment)
    parts = [
        MirroredBuffer(session, "float32", shape, mirror, 256 * place)
        for place, shape in enumerate(shapes)
    ]
    return mirror, parts


def run(session, mirror, part, number):
    """What a launch does: a stage writes to the device, a copy and an event follow."""
    stream = session.stream
    with stream.lock:

        def stage():
            block = stream.cuda.view(part.address, part.size)
            block.view(np.float32)[:] = number

        stream.cuda.put(stream.handle, stage)
        device = mirror.device
        stream.cuda.copy(mirror.pinned.address, device.address, device.size, stream.handle)
        stream.cuda.event_record(mirror.moment.event, stream.handle)
        stream.issued += 1
        mirror.moment.number = stream.issued


def test_a_mirror_shows_each_run_and_waits_once(session, cuda):
    mirror, (first, second) = mirrored(session)
    view = first.host()
    assert not view.any()
    for turn in (1, 2, 3):
        run(session, mirror, first, turn)
        waits = cuda.calls["event_synchronize"]
        assert not (view == turn).any()  # nothing has waited yet
        assert (first.host() == turn).all()
        assert first.host() is view
        assert not second.host().any()
        assert cuda.calls["event_synchronize"] == waits + 1


def test_a_mirror_shows_what_is_written_and_taken_as_well(session):
    mirror, (first, _) = mirrored(session)
    run(session, mirror, first, 7)
    first.write(np.arange(3, dtype=np.float32))
    np.testing.assert_array_equal(first.host(), [0, 1, 2])
    source = DeviceBuffer(session, "float32", (4,))
    source.write(np.arange(10, 14, dtype=np.float32))
    source.take(np.array([3, 0]), 0, first)
    np.testing.assert_array_equal(first.host(), [13, 10, 2])
    run(session, mirror, first, 5)
    np.testing.assert_array_equal(first.host(), [5, 5, 5])


def test_writing_to_a_mirror_while_a_run_is_under_way_keeps_the_order(session):
    mirror, (first, _) = mirrored(session)
    run(session, mirror, first, 7)
    first.write(np.arange(3, dtype=np.float32))
    kept = DeviceBuffer(session, "float32", (3,))
    kept.copy(first)
    first.write(np.arange(3, 6, dtype=np.float32))
    np.testing.assert_array_equal(first.host(), [3, 4, 5])
    np.testing.assert_array_equal(kept.host(), [0, 1, 2])


def test_a_failure_of_the_device_is_an_error_and_not_an_answer(session, cuda):
    buffer = DeviceBuffer(session, "float32", (2,))
    cuda.refuse.add("event_synchronize")
    with pytest.raises(TargetError, match="refuses event_synchronize"):
        buffer.host()
    cuda.refuse = {"malloc"}
    with pytest.raises(TargetError, match="refuses malloc"):
        DeviceBuffer(session, "float32", (2,)).write(np.zeros(2, np.float32))


def test_memory_is_freed_behind_the_work_that_uses_it(session, cuda):
    source, out = (DeviceBuffer(session, "float32", (4,)) for _ in range(2))
    source.write(np.ones(4, np.float32))
    out.copy(source)
    del source
    assert (out.host() == 1).all()
    frees = [place for place, call in enumerate(cuda.log) if call in ("free", "free_host")]
    assert len(frees) == 2
    assert "stream_synchronize" in cuda.log[: frees[0]]


def test_what_is_dropped_while_another_holds_the_stream_is_freed_when_it_lets_go(session, cuda):
    buffer = DeviceBuffer(session, "float32", (4,))
    assert buffer.address
    live = cuda.live()["device_blocks"]
    with session.stream.turn():
        del buffer
        assert cuda.live()["device_blocks"] == live
    assert cuda.live()["device_blocks"] == live - 1


def test_threads_on_one_stream_keep_their_own_values(session):
    wrong = []

    def work(seed):
        source, out = (DeviceBuffer(session, "int32", (50,)) for _ in range(2))
        for turn in range(60):
            source.write(np.full(50, 1000 * seed + turn, np.int32))
            out.copy(source)
            if not (out.host() == 1000 * seed + turn).all():
                wrong.append((seed, turn))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_session_ends_with_its_last_buffer():
    cuda = FakeCuda()
    buffer = DeviceBuffer(Session(cuda, FakeApi(cuda), lambda: b""), "float32", (4,))
    buffer.host()
    assert cuda.live()["streams"] == 1
    del buffer
    gc.collect()
    assert set(cuda.live().values()) == {0}

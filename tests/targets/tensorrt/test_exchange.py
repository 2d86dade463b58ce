"""Arrays of other libraries, in and out, over the fake CUDA; DLPack capsules are real ones."""

from __future__ import annotations

import ctypes
import gc
import sys

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import FakeApi

from edgeexit.errors import InputError
from edgeexit.targets.tensorrt import capsules
from edgeexit.targets.tensorrt.buffers import DeviceBuffer
from edgeexit.targets.tensorrt.session import Session

DTYPES = ("float32", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool")


@pytest.fixture
def cuda():
    return FakeCuda()


@pytest.fixture
def session(cuda):
    return Session(cuda, FakeApi(cuda), lambda: b"")


def filled(session, dtype="float32", shape=(3, 4)):
    buffer = DeviceBuffer(session, dtype, shape)
    buffer.write((np.arange(np.prod(shape)).reshape(shape) % 2).astype(buffer.storage))
    return buffer


class Dlpack:
    """Another library's array: it offers DLPack alone."""

    def __init__(self, buffer, device=(2, 0), **changes):
        self.buffer, self.device, self.changes = buffer, device, changes
        self.streams = []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        described = {
            "owner": self,
            "address": self.buffer.address,
            "dtype": self.buffer.dtype,
            "shape": self.buffer.shape,
            "device": self.device,
            **self.changes,
        }
        return capsules.export(**described)


class CudaArray:
    """Another library's array: it offers the CUDA array interface alone."""

    def __init__(self, buffer, **changes):
        self.buffer = buffer
        self.__cuda_array_interface__ = {**buffer.__cuda_array_interface__, **changes}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3, 4), (0, 2), (2, 1, 5)])
@pytest.mark.parametrize("offer", [Dlpack, CudaArray])
def test_an_array_on_the_gpu_is_copied_there(session, cuda, dtype, shape, offer):
    source, out = filled(session, dtype, shape), DeviceBuffer(session, dtype, shape)
    expected = source.host()
    assert out.address
    pinned = cuda.calls["host_alloc"]
    out.write(offer(source))
    assert cuda.calls["host_alloc"] == pinned
    # The copy is made before write returns.
    held = cuda.view(out.address, out.size).view(out.storage).reshape(shape)
    np.testing.assert_array_equal(held, expected)
    np.testing.assert_array_equal(out.host(), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("start", "stop"), [(0, 4), (1, 3), (3, 4)])
@pytest.mark.parametrize("offer", [Dlpack, CudaArray])
def test_samples_of_an_array_on_the_gpu_with_padding(session, axis, start, stop, offer):
    shape, room = [2, 3, 5], [2, 3, 5]
    shape[axis], room[axis] = 2 * 4, 2 * 4
    source = DeviceBuffer(session, "int32", tuple(shape))
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    source.write(array)
    out = DeviceBuffer(session, "int32", tuple(room))
    out.write_samples(offer(source), axis, 2, start, stop)
    slots = [*range(start, stop), *[start] * (4 - (stop - start))]
    rows = [2 * slot + row for slot in slots for row in range(2)]
    np.testing.assert_array_equal(out.host(), array.take(rows, axis))


def test_samples_that_do_not_fit(session):
    out = DeviceBuffer(session, "float32", (4, 3))
    with pytest.raises(InputError, match=r"\(2, 4\) does not fit a tensor of shape \(4, 3\)"):
        out.write_samples(Dlpack(filled(session, shape=(2, 4))), 0, 1, 0, 2)
    with pytest.raises(InputError, match="an array of int32 does not fit"):
        out.write_samples(Dlpack(filled(session, "int32", (2, 3))), 0, 1, 0, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3, 4), (2, 1, 5)])
def test_a_buffer_is_seen_in_place(session, cuda, dtype, shape):
    buffer = filled(session, dtype, shape)
    interface = buffer.__cuda_array_interface__
    assert interface["version"] == 3
    assert interface["stream"] == session.stream.handle
    assert interface["data"] == (buffer.address, False)
    assert np.dtype(interface["typestr"]) == buffer.storage
    assert interface["shape"] == shape
    assert buffer.__dlpack_device__() == (2, 0)
    taken = capsules.Taken(buffer.__dlpack__())
    assert (taken.shape(), taken.dtype(), taken.address()) == (shape, dtype, buffer.address)
    strides = np.empty(shape, buffer.storage).strides
    assert taken.strides() == tuple(step // buffer.storage.itemsize for step in strides)
    taken.release()


def test_sharing_waits_for_the_work_on_it_unless_told_not_to(session, cuda):
    buffer = filled(session)
    waits = cuda.calls["event_synchronize"]
    for stream in (-1, session.stream.handle):
        del_me = buffer.__dlpack__(stream=stream)
        assert cuda.calls["event_synchronize"] == waits
        del del_me
    capsule = buffer.__dlpack__(stream=None)
    assert cuda.calls["event_synchronize"] == waits + 1
    assert cuda.view(buffer.address, buffer.size).any()
    assert "dltensor" in repr(capsule)


@pytest.mark.parametrize("asked", [{"copy": True}, {"dl_device": (1, 0)}])
def test_a_copy_or_another_device_is_refused_as_the_standard_says(session, asked):
    with pytest.raises(BufferError, match="can only be shared where it lies"):
        filled(session).__dlpack__(**asked)
    assert filled(session).__dlpack__(max_version=(1, 0), dl_device=(2, 0), copy=False)


def test_the_producer_is_told_our_stream(session):
    source = Dlpack(filled(session))
    DeviceBuffer(session, "float32", (3, 4)).write(source)
    assert source.streams == [session.stream.handle]


@pytest.mark.parametrize(
    ("changes", "waited"),
    [
        ({"stream": None}, []),
        ({"stream": 2}, [2]),
        ({"stream": 77}, [77]),
        ({"version": 2, "stream": None}, []),
    ],
)
def test_the_stream_of_a_cuda_array_is_waited_for(session, cuda, changes, waited):
    source = CudaArray(filled(session), **changes)
    asked = []
    cuda.stream_synchronize = asked.append
    out = DeviceBuffer(session, "float32", (3, 4))
    out.write(source)
    assert asked == waited
    older = CudaArray(source.buffer, version=2)
    del older.__cuda_array_interface__["stream"]
    out.write(older)
    assert asked == [*waited, 1]


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda b: Dlpack(b, device=(1, 0)), "input.device", "in the CPU's memory"),
        (lambda b: Dlpack(b, device=(2, 1)), "input.device", r"DLPack device \(2, 1\)"),
        (lambda b: Dlpack(b, device=(10, 0)), "input.device", r"DLPack device \(10, 0\)"),
        (lambda b: Dlpack(b, dtype="float16"), "input.dtype", "array of float16 .* of float32"),
        (lambda b: Dlpack(b, shape=(4, 3)), "input.shape", r"shape \(4, 3\) does not fit"),
        (lambda b: CudaArray(b, shape=(4, 3)), "input.shape", r"shape \(4, 3\) does not fit"),
        (lambda b: CudaArray(b, typestr="<f8"), "input.dtype", "array of float64"),
        (lambda b: CudaArray(b, typestr=">f4"), "input.dtype", "array of >f4"),
        (lambda b: CudaArray(b, strides=(4, 12)), "input.device", r"steps \(4, 12\)"),
        (lambda b: CudaArray(b, mask=object()), "input.device", "under a mask"),
        (lambda b: [1.0], "input.type", "a list is neither a numpy array nor one on the GPU"),
        (lambda b: None, "input.type", "a NoneType is neither"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_copied(session, cuda, make, code, words):
    out = DeviceBuffer(session, "float32", (3, 4))
    source = make(filled(session))
    copies = cuda.calls["copy"]
    with pytest.raises(InputError, match=words) as caught:
        out.write(source)
    assert caught.value.code == code
    assert cuda.calls["copy"] == copies
    if isinstance(source, Dlpack) and source.device == (1, 0):
        assert "numpy.asarray" in caught.value.hint


def test_a_capsule_that_is_refused_is_freed_by_its_own_destructor(session):
    source = Dlpack(filled(session), dtype="float16")
    out = DeviceBuffer(session, "float32", (3, 4))
    held = sys.getrefcount(source)
    for _ in range(3):
        with pytest.raises(InputError, match="float16"):
            out.write(source)
        gc.collect()
    assert len(source.streams) == 3
    assert sys.getrefcount(source) == held


def test_strided_capsules(session):
    source = filled(session, shape=(3, 4))
    capsule = source.__dlpack__()
    taken = capsules.Taken(capsule)
    taken.tensor.strides[0], taken.tensor.strides[1] = 1, 3

    class Strided:
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, *, stream=None):
            return capsule

    out = DeviceBuffer(session, "float32", (3, 4))
    with pytest.raises(InputError, match=r"steps \(1, 3\)") as caught:
        out.write(Strided())
    assert "contiguous" in caught.value.hint
    taken.tensor.strides = None  # no strides: row by row
    out.write(Strided())
    np.testing.assert_array_equal(out.host(), source.host())
    with pytest.raises(InputError, match="no unused DLPack capsule"):
        out.write(Strided())


def test_a_producer_that_refuses_is_heard(session):
    class Refusing:
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, *, stream=None):
            raise BufferError("it requires grad")

    with pytest.raises(InputError, match="cannot be read through DLPack: it requires grad"):
        DeviceBuffer(session, "float32", (3,)).write(Refusing())


@pytest.mark.parametrize("take", [True, False])
def test_capsules_keep_their_buffer_as_long_as_they_live_and_no_longer(session, take):
    buffer = filled(session)
    before = sys.getrefcount(buffer)
    capsule = buffer.__dlpack__()
    assert sys.getrefcount(buffer) == before + 1
    if take:
        taken = capsules.Taken(capsule)
        taken.release()
        assert sys.getrefcount(buffer) == before
        with pytest.raises(ValueError, match="no unused DLPack capsule"):
            capsules.Taken(capsule)
    del capsule
    assert sys.getrefcount(buffer) == before


def test_memory_outlives_its_buffer_in_a_capsule(session, cuda):
    buffer = filled(session)
    expected = buffer.host()
    address, size = buffer.address, buffer.size
    taken = capsules.Taken(buffer.__dlpack__())
    del buffer
    np.testing.assert_array_equal(cuda.view(address, size), expected.reshape(-1).view(np.uint8))
    live = cuda.live()["device_blocks"]
    taken.release()
    assert cuda.live()["device_blocks"] == live - 1


def test_ten_thousand_capsules_leave_nothing(session):
    buffer = filled(session)
    out = DeviceBuffer(session, "float32", (3, 4))
    source = Dlpack(buffer)
    before = sys.getrefcount(buffer), sys.getrefcount(source), len(gc.get_objects())
    for _ in range(10_000):
        buffer.__dlpack__()
    for _ in range(500):
        out.write(source)
    source.streams.clear()
    gc.collect()
    after = sys.getrefcount(buffer), sys.getrefcount(source), len(gc.get_objects())
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 50


def test_real_consumers_read_the_capsules(session):
    """Memory called the CPU's, as numpy and torch know it: they check what a capsule says."""
    buffer = filled(session, "float32", (2, 3))
    expected = buffer.host()

    class Host:
        def __dlpack_device__(self):
            return 1, 0

        def __dlpack__(self, **_):
            return capsules.export(self, buffer.address, "float32", (2, 3), (1, 0))

    host = Host()
    before = sys.getrefcount(host)
    seen = np.from_dlpack(host)
    np.testing.assert_array_equal(seen, expected)
    assert sys.getrefcount(host) == before + 1
    del seen
    assert sys.getrefcount(host) == before


def test_real_producers_capsules_are_read():
    """Numpy's own capsules, of both versions where it makes them."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    kinds = [{}]
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        kinds.append({"max_version": (1, 0)})
    before = sys.getrefcount(array)
    for asked in kinds:
        taken = capsules.Taken(array.__dlpack__(**asked))
        assert (taken.shape(), taken.dtype()) == ((2, 3), "float32")
        assert taken.address() == array.ctypes.data
        assert ctypes.c_float.from_address(taken.address() + 8).value == 2.0
        taken.release()
        assert sys.getrefcount(array) == before
    with pytest.raises(ValueError, match="no unused DLPack capsule"):
        capsules.Taken(object())

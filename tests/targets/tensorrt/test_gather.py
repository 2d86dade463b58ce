"""Rows taken on the fake device, against ``numpy.take``: by copies and by the gather engine.

The engine here is a fake: it shows that ours gives it the right tensors, not that NVIDIA's runs.
"""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import FakeApi
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.errors import TargetError
from edgeexit.targets.buffer import HostBuffer
from edgeexit.targets.tensorrt.buffers import DeviceBuffer
from edgeexit.targets.tensorrt.gather import FEW_RUNS
from edgeexit.targets.tensorrt.job import LARGEST_GATHER, gather_job
from edgeexit.targets.tensorrt.session import Session

DTYPES = ("float32", "float16", "bfloat16", "int64", "int32", "int8", "bool")
MANY = np.array([6, 1, 1, 4, 0, 5], np.intp)  # six runs
FEW = np.array([2, 3, 4, 0, 0], np.intp)  # three


@pytest.fixture
def session():
    cuda = FakeCuda()
    api = FakeApi(cuda)
    return Session(cuda, api, lambda: api.build(gather_job(), lambda phase, fraction: None))


def filled(session, dtype, shape, seed=0):
    buffer = DeviceBuffer(session, dtype, shape)
    size = int(np.prod(shape)) * buffer.storage.itemsize
    words = np.random.default_rng(seed).integers(0, 2, size, np.uint8)
    buffer.write(words.view(buffer.storage).reshape(shape))
    return buffer


def check(source, rows, axis, room=None):
    """Take rows into a buffer with ``room`` places, and compare with numpy."""
    session = source.session
    shape = list(source.shape)
    shape[axis] = len(rows) if room is None else room
    out = filled(session, source.dtype, tuple(shape), seed=9)
    expected = out.host()
    source.take(rows, axis, out)
    front = (slice(None),) * axis + (slice(len(rows)),)
    expected[front] = np.take(source.host(), rows, axis)
    np.testing.assert_array_equal(out.host(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [MANY, FEW, np.array([5], np.intp)], ids=["many", "few", "one"])
@pytest.mark.parametrize("room", [None, 11])
def test_all_types_and_axes(session, dtype, rows, room):
    for axis, shape in enumerate([(7, 4, 8), (3, 7, 8), (3, 4, 7)]):
        check(filled(session, dtype, shape), rows, axis, room)


def test_which_way_rows_go(session):
    api = session.api
    check(filled(session, "float32", (7, 3)), FEW, 0)
    assert api.enqueued == 0
    check(filled(session, "float32", (7, 3)), MANY, 0)
    assert api.enqueued == 1
    check(filled(session, "float16", (7, 3)), MANY, 0)  # six bytes a row: no whole words
    check(filled(session, "bool", (7,)), MANY, 0)
    check(filled(session, "float32", (LARGEST_GATHER[0] + 1, 7, 2)), MANY, 1)
    assert api.enqueued == 1
    check(filled(session, "int64", (2, 7)), MANY, 1)
    assert api.enqueued == 2
    assert api.deserialized == 1
    assert FEW_RUNS == 4


def test_several_rows_a_sample(session):
    slots = np.array([3, 0, 3, 1, 0], np.intp)
    rows = (slots[:, None] * 3 + np.arange(3)).ravel()
    check(filled(session, "float32", (12, 5)), rows, 0)
    assert session.api.enqueued == 1


def test_takes_into_one_buffer_follow_each_other(session):
    """The rows' numbers lie in pinned memory that the copy before may not have left yet."""
    source = filled(session, "int32", (9, 4), seed=3)
    outs = [filled(session, "int32", (6, 4), seed=4) for _ in range(2)]
    kept = []
    for seed in range(5):
        rows = np.random.default_rng(seed).permutation(9)[:6]
        source.take(rows, 0, outs[seed % 2])
        copy = DeviceBuffer(session, "int32", (6, 4))
        copy.copy(outs[seed % 2])
        kept.append((rows, copy))
    for rows, copy in kept:
        np.testing.assert_array_equal(copy.host(), source.host()[rows])


def test_shapes_are_set_only_when_they_change(session):
    api, shapes = session.api, []
    set_shape = api.set_shape
    api.set_shape = lambda context, name, shape: (
        shapes.append((name, shape)),
        set_shape(context, name, shape),
    )
    for _ in range(3):
        check(filled(session, "float32", (7, 3)), MANY, 0)
    assert shapes == [("data", (1, 7, 3)), ("rows", (6,))]
    check(filled(session, "float32", (7, 4)), MANY, 0)
    assert shapes[2:] == [("data", (1, 7, 4)), ("rows", (6,))]


def test_empty_tensors_have_nothing_to_take(session):
    check(filled(session, "float32", (7, 0)), MANY, 0)
    check(filled(session, "float32", (0, 7, 2)), MANY, 1)
    assert session.api.enqueued == 0


def test_without_a_gather_plan_copies_do_it_and_a_warning_says_so(session, caplog):
    session.api.unfit = 1
    for _ in range(3):
        check(filled(session, "float32", (7, 3)), MANY, 0)
    assert session.api.enqueued == session.api.deserialized == 0
    (record,) = caplog.records
    assert "rows are taken by copies alone: the plan that gathers rows was built" in caplog.text
    assert "the plan is of another version" in record.getMessage()


def test_rows_do_not_leave_the_device(session):
    source = filled(session, "float32", (7, 3))
    with pytest.raises(TargetError, match="cannot use a HostBuffer"):
        source.take(MANY, 0, HostBuffer("float32", (7, 3)))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_rows_of_any_shape(data):
    cuda = FakeCuda()
    api = FakeApi(cuda)
    session = Session(cuda, api, lambda: api.build(gather_job(), lambda phase, fraction: None))
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    rows = data.draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=12))
    room = len(rows) + data.draw(st.integers(0, 2))
    dtype = data.draw(st.sampled_from(DTYPES))
    check(filled(session, dtype, shape), np.array(rows, np.intp), axis, room)

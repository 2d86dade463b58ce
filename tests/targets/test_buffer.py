"""Host buffers: aligned memory of every element type, written and taken exactly."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.errors import InputError, TargetError
from edgeexit.targets.buffer import ALIGNMENT, HostBuffer, storage_dtype


@pytest.mark.parametrize("dtype", ["float32", "float16", "bool", "int64", "uint8", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4)])
def test_memory_is_aligned_zeroed_and_written(dtype, shape):
    buffer = HostBuffer(dtype, shape)
    assert buffer.host().ctypes.data % ALIGNMENT == 0 or 0 in shape
    assert not buffer.host().any()
    values = np.arange(np.prod(shape)).reshape(shape).astype(storage_dtype(dtype))
    buffer.write(values)
    np.testing.assert_array_equal(buffer.host(), values)
    assert buffer.host() is not values


def test_bfloat16_is_kept_as_uint16_and_says_so():
    buffer = HostBuffer("bfloat16", (2,))
    assert buffer.host().dtype == np.uint16
    with pytest.raises(InputError, match=r"float32 does not fit .* bfloat16 \(kept as uint16\)"):
        buffer.write(np.zeros(2, np.float32))


def test_element_types_that_cannot_cross():
    with pytest.raises(TargetError, match="'string' cannot cross") as caught:
        HostBuffer("string", (1,))
    assert caught.value.code == "target.dtype"


def test_take_keeps_special_values_and_leaves_the_rest():
    source, out = HostBuffer("float32", (3, 2)), HostBuffer("float32", (4, 2))
    bits = np.array([[1, 0x7FC00001], [0x80000000, 0xFF800000], [5, 6]], np.uint32)
    source.write(bits.view(np.float32))
    out.write(np.full((4, 2), 9, np.float32))
    source.take(np.array([1, 1, 0]), 0, out)
    np.testing.assert_array_equal(out.host()[:3].view(np.uint32), bits[[1, 1, 0]])
    assert (out.host()[3] == 9).all()


def test_taking_no_rows_changes_nothing():
    source, out = HostBuffer("int64", (3,)), HostBuffer("int64", (2,))
    out.write(np.array([4, 5]))
    source.take(np.array([], np.intp), 0, out)
    assert out.host().tolist() == [4, 5]


@pytest.mark.parametrize("other", [HostBuffer("float16", (2, 4)), HostBuffer("float32", (2, 4, 1))])
def test_rows_do_not_go_into_another_type_or_rank(other):
    with pytest.raises(InputError, match="do not fit") as caught:
        HostBuffer("float32", (3, 4)).take(np.array([0]), 0, other)
    assert caught.value.code == "input.shape"


def test_rows_are_intp():
    with pytest.raises(InputError, match="rows of bool"):
        HostBuffer("float32", (2,)).take(np.array([True, False]), 0, HostBuffer("float32", (2,)))

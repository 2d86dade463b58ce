"""Any array a caller may hand in: the answer to its values, or an InputError; nothing is cast."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeexit.errors import InputError
from edgeexit.runtime.runtime import Runtime
from tests.faults.counts import count
from tests.runtime.toy import make_inputs

DTYPES = (
    "<f4", "<f4", "<f4", ">f4", "<f2", "<f8", "<i4", "<i8", "<u1", "?", "<c8", "<U3", "<S3",
    "<M8[s]", "O", "V4",
)  # fmt: skip

CODES = {"input.shape", "input.dtype", "input.batch", "input.empty", "input.not-finite"}

LAYOUTS = {
    "as it is": lambda array: array,
    "Fortran": np.asfortranarray,
    "every second": lambda array: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array,
    "backwards": lambda array: array[::-1].copy()[::-1] if array.ndim else array,
    "unaligned": lambda array: _unaligned(array),
    "one row for all": lambda array: (
        np.broadcast_to(array[:1], array.shape) if array.ndim and len(array) else array
    ),
    "read-only": lambda array: _read_only(array),
    "masked": np.ma.masked_array,
    "matrix": lambda array: array.view(np.matrix) if array.ndim == 2 else array,
}


def _unaligned(array):
    if array.dtype.hasobject:
        return array
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
    memory = memory.reshape(array.shape)
    memory[...] = array
    return memory


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _array(shape, dtype, seed):
    values = np.random.default_rng(seed).integers(-9, 10, shape)
    return np.asarray(values).astype("<i4" if dtype == "V4" else dtype).view(dtype)


@settings(max_examples=count(2000, 2000), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=st.one_of(
        st.tuples(st.integers(0, 5), st.just(8)),
        st.just((8,)),
        st.lists(st.integers(0, 9), max_size=4).map(tuple),
    ),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(sorted(LAYOUTS)),
    rows=st.integers(0, 5),
    seed=st.integers(0, 1000),
    spoil=st.sampled_from([None, None, np.nan, np.inf]),
)
def test_an_array_is_answered_by_its_values_or_refused(
    runtime, shape, dtype, layout, rows, seed, spoil
):
    plain = _array(shape, dtype, seed)
    if spoil is not None and plain.dtype.kind == "f" and plain.size:
        plain.flat[seed % plain.size] = spoil
    array = LAYOUTS[layout](plain)
    rows = shape[0] if len(shape) == 2 and seed % 4 else rows
    before = array.tobytes()
    z = make_inputs(rows, seed)["z"]
    one = shape == (8,) and rows == 1
    finite = plain.dtype.kind != "f" or bool(np.isfinite(np.asarray(array)).all())
    if dtype == "<f4" and finite and (one or (shape == (rows, 8) and rows > 0)):
        copy = np.ascontiguousarray(np.asarray(array)).reshape(rows, 8)
        wanted = runtime({"x": copy, "z": z}).logits
        np.testing.assert_array_equal(runtime({"x": array, "z": z}).logits, wanted)
    else:
        with pytest.raises(InputError) as caught:
            runtime({"x": array, "z": z})
        assert caught.value.code in CODES
        assert caught.value.hint
        assert "\n" not in caught.value.message
    assert array.tobytes() == before, "what the caller holds is never written to"


def test_a_mask_does_not_hide_what_it_covers(runtime):
    """A masked array is read by its values, so that NaN under a mask is still NaN."""
    good = make_inputs(2)
    spoilt = good["x"].copy()
    spoilt[1, 3] = np.nan
    with pytest.raises(InputError, match=r"input 'x' holds nan at \[1, 3\]") as caught:
        runtime({**good, "x": np.ma.masked_invalid(spoilt)})
    assert caught.value.code == "input.not-finite"


def _spoilt_places(rows):
    inputs = make_inputs(rows, seed=3)
    for value in (np.nan, np.inf, -np.inf):
        for name, array in inputs.items():
            for place in np.ndindex(array.shape):
                spoilt = {key: each.copy() for key, each in inputs.items()}
                spoilt[name][place] = value
                yield spoilt, name, place, value


@pytest.mark.parametrize("rows", [1, 3])
def test_nan_and_infinity_at_every_position_are_refused(runtime, rows):
    tried = 0
    for spoilt, name, place, value in _spoilt_places(rows):
        for call in (runtime, runtime.all_exits):
            with pytest.raises(InputError) as caught:
                call(spoilt)
            assert caught.value.code == "input.not-finite"
            assert f"input {name!r} holds {value} at {list(place)}" in caught.value.message
            assert f"1 of its {spoilt[name].size} values" in caught.value.message
        tried += 1
    assert tried == 3 * rows * 12


@pytest.mark.parametrize("device", ["cpu", "x86"])
@pytest.mark.parametrize("rows", [1, 3])
def test_nan_and_infinity_at_every_position_go_to_the_last_exit_flagged(toy_bundle, device, rows):
    with Runtime(toy_bundle, target=device, threads=1, on_invalid="last_exit") as runtime:
        dial = runtime._dial
        runtime._dial = type(dial)(None, dial.params, (-np.inf, -np.inf))
        clean = runtime(make_inputs(rows, seed=3))
        assert clean.valid.all()
        assert (clean.exits == 1).all()
        for spoilt, _, place, _ in _spoilt_places(rows):
            result = runtime(spoilt)
            good = np.arange(rows) != place[0]
            np.testing.assert_array_equal(result.valid, good)
            np.testing.assert_array_equal(result.exits, np.where(good, 1, 3))
            np.testing.assert_array_equal(result.logits[good], clean.logits[good])

"""What callers hand in: refused with a message, or read as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import SEQ_X, T, make_inputs, make_sequences, reference

from edgeexit.errors import InputError
from edgeexit.runtime.inputs import InputCheck
from edgeexit.runtime.runtime import Runtime


def refusal(call, inputs):
    with pytest.raises(InputError) as caught:
        call(inputs)
    return caught.value


def test_names(runtime):
    good = make_inputs(2)
    error = refusal(runtime, {"x": good["x"], "w": good["z"]})
    assert error.code == "input.names"
    assert "takes x, z: missing: z; unknown: w" in error.message
    assert "a ndarray was given" in refusal(runtime, good["x"]).message
    assert refusal(runtime, {**good, "extra": good["x"]}).code == "input.names"
    assert refusal(runtime, [1.0]).code == "input.names"


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", ">f4", "bool", "object"])
def test_types_are_never_cast(runtime, dtype):
    good = make_inputs(2)
    error = refusal(runtime, {**good, "x": np.ones((2, 8)).astype(dtype)})
    assert error.code == "input.dtype"
    assert f"type {np.dtype(dtype)}, but the model takes float32" in error.message
    assert error.hint == "convert it: array.astype('float32')."


def test_only_arrays(runtime):
    error = refusal(runtime, {**make_inputs(2), "x": [[1.0] * 8] * 2})
    assert (error.code, "is a list" in error.message) == ("input.type", True)


@pytest.mark.parametrize(
    ("x", "z", "code", "message"),
    [
        ((2, 9), (2, 4), "input.shape", "has shape (2, 9), but the model takes (batch, 8)"),
        ((2, 8, 1), (2, 4), "input.shape", "has shape (2, 8, 1)"),
        ((), (2, 4), "input.shape", "has shape ()"),
        ((2, 8), (3, 4), "input.batch", "'z' says that batch is 3, but input 'x' says 2"),
        ((8,), (3, 4), "input.batch", "batch is 3"),
        ((0, 8), (0, 4), "input.empty", "holds nothing"),
    ],
)
def test_shapes(runtime, x, z, code, message):
    arrays = {"x": np.ones(x, np.float32), "z": np.ones(z, np.float32)}
    error = refusal(runtime, arrays)
    assert error.code == code
    assert message in error.message


@settings(max_examples=150, deadline=None)
@given(
    shape=st.lists(st.integers(0, 9), max_size=4),
    dtype=st.sampled_from(["float32", "float64", "int64", "uint8", "complex64", "U3"]),
    value=st.sampled_from([0, 1]),
)
def test_any_array_gives_an_answer_or_an_input_error(runtime, shape, dtype, value):
    z = np.ones((shape[0] if len(shape) > 1 else 1, 4), np.float32)
    inputs = {"x": np.full(shape, value).astype(dtype), "z": z}
    fits = dtype == "float32" and shape in ([8], [len(z), 8]) and len(z) > 0
    if fits:
        assert runtime(inputs).logits.shape == (len(z), 5)
    else:
        error = refusal(runtime, inputs)
        assert error.code in ("input.shape", "input.dtype", "input.batch", "input.empty")
        assert error.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, 7])
def test_every_position_of_nan_and_infinity_is_found(runtime, value, rows):
    for name, width in (("x", 8), ("z", 4)):
        for row in {0, rows - 1}:
            for column in range(width):
                inputs = make_inputs(rows)
                inputs[name][row, column] = value
                error = refusal(runtime, inputs)
                assert error.code == "input.not-finite"
                assert f"input {name!r} holds {value} at [{row}, {column}]" in error.message


def test_large_arrays_are_searched_whole_and_large_numbers_are_fine():
    check = InputCheck((T("x", "float32", ("batch", 20_000)),), (), check_finite=True,
                       on_invalid="error")  # fmt: skip
    array = np.full((3, 20_000), 3e38, np.float32)
    assert check(array).rows == 3
    array[2, 19_999] = np.nan
    assert "at [2, 19999]; 1 of its 60000" in refusal(check, array).message
    small = InputCheck((T("x", "float32", ("batch", 4)),), (), check_finite=True,
                       on_invalid="error")  # fmt: skip
    assert small(np.full((1, 4), 3e38, np.float32)).rows == 1


def test_unchecked_inputs_pass(toy_bundle):
    with Runtime(toy_bundle, threads=1, check_finite=False) as runtime:
        inputs = make_inputs(3)
        inputs["x"][1, 0] = np.nan
        result = runtime(inputs)
        np.testing.assert_array_equal(result.valid, [True, False, True])


@pytest.mark.parametrize("rows", [1, 6, 40])
def test_last_exit_for_invalid_samples_only(toy_bundle, rows):
    with Runtime(toy_bundle, threads=1, on_invalid="last_exit") as runtime:
        dial = runtime._dial
        runtime._dial = type(dial)(None, dial.params, (-1.0, -1.0))
        inputs = make_inputs(rows)
        wanted = reference(inputs)["logits1"]
        bad = np.arange(rows) % 3 == 0
        inputs["z"][bad, 1] = np.inf
        result = runtime(inputs)
        np.testing.assert_array_equal(result.exits, np.where(bad, 3, 1))
        np.testing.assert_array_equal(result.valid, ~bad)
        np.testing.assert_allclose(result.logits[~bad], wanted[~bad], atol=2e-6)
        clean = runtime(make_inputs(rows))
        assert (clean.exits == 1).all()
        assert clean.valid.all()


def test_nan_scores_never_leave_early(toy_bundle):
    with Runtime(toy_bundle, threads=1, check_finite=False) as runtime:
        dial = runtime._dial
        runtime._dial = type(dial)(None, dial.params, (-np.inf, -np.inf))
        inputs = make_inputs(5)
        inputs["x"][2] = np.nan
        result = runtime(inputs)
        np.testing.assert_array_equal(result.exits, [1, 1, 3, 1, 1])
        np.testing.assert_array_equal(result.valid, [True, True, False, True, True])
        assert runtime({name: array[2] for name, array in inputs.items()}).exits[0] == 3


def test_symbols_are_solved_and_agree():
    specs = (
        T("a", "float32", ("batch", "seq", 2)),
        T("b", "int64", ("3*batch", "seq+1"), 0, 3),
        T("c", "float32", (7,), None, 0),
    )
    check = InputCheck(specs, ("seq",), check_finite=True, on_invalid="error")

    def arrays(a, b, c=(7,)):
        return {"a": np.ones(a, np.float32), "b": np.ones(b, np.int64), "c": np.ones(c, np.float32)}

    checked = check(arrays((2, 5, 2), (6, 6)))
    assert (checked.rows, checked.symbols) == (2, (5,))
    assert refusal(check, arrays((2, 5, 2), (6, 5))).code == "input.shape"
    assert refusal(check, arrays((2, 5, 2), (7, 6))).code == "input.shape"
    assert refusal(check, arrays((2, 5, 2), (9, 6))).code == "input.batch"
    assert refusal(check, arrays((2, 5, 2), (6, 6), (8,))).code == "input.shape"
    assert refusal(check, arrays((2, 0, 2), (6, 1))).code == "input.empty"


def test_a_fixed_batch_takes_several_samples_one_by_one():
    spec = T("x", "float32", (1, 3))
    check = InputCheck((spec,), (), check_finite=True, on_invalid="error")
    assert check(np.ones((4, 3), np.float32)).rows == 4
    assert check(np.ones(3, np.float32)).rows == 1


def test_more_shapes_than_are_remembered():
    check = InputCheck((SEQ_X,), ("seq",), check_finite=True, on_invalid="error")
    for length in [*range(1, 600), 1]:
        assert check(make_sequences(2, length)).symbols == (length,)


@pytest.mark.parametrize("argument", [{"max_batch": 0}, {"on_invalid": "skip"}])
def test_arguments(toy_bundle, argument):
    with pytest.raises(InputError) as caught:
        Runtime(toy_bundle, **argument)
    assert caught.value.code == "input.argument"

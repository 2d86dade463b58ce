"""The data's inputs held against the backbone's: names, order, shapes, types, numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.dmpo.data.check import fit_inputs
from edgeexit.dmpo.data.load import load_tune_data
from edgeexit.dmpo.families.base import InputShape
from edgeexit.errors import InputError
from tests.dmpo.data.loading import rows


@pytest.fixture
def data(tune_config, write_npz):
    def made(array):
        return load_tune_data(tune_config(write_npz(x=array, y=np.arange(len(array)) % 2)))

    return made


def test_a_single_input_takes_the_backbones_name(data):
    fitted = fit_inputs(
        data(np.zeros((20, 1, 4, 4), np.uint8)),
        (InputShape("pixel_values", (3, 4, 4), "float32"),),
    )
    assert list(fitted.train.inputs) == ["pixel_values"]
    assert fitted.inputs == (TensorSpec("pixel_values", "uint8", ("batch", 1, 4, 4)),)


def test_inputs_are_put_in_the_backbones_order(tune_config, write_texts):
    data = load_tune_data(tune_config(write_texts("a.csv", rows()), length=8))
    wanted = [InputShape(n, (8,), "int64") for n in ("attention_mask", "input_ids")]
    fitted = fit_inputs(data, wanted)
    assert list(fitted.train.inputs) == ["attention_mask", "input_ids"]
    assert fitted.calibration.inputs["input_ids"] is data.calibration.inputs["input_ids"]
    with pytest.raises(InputError, match=r"the data holds input_ids.*takes image"):
        fit_inputs(data, [InputShape("image", (3, 4, 4), "float32")])


@pytest.mark.parametrize(
    ("array", "shape", "dtype", "words"),
    [
        (np.zeros((20, 3, 4, 4), np.uint8), (3, 8, 6), "float32", "data.size = [8, 6]"),
        (np.zeros((20, 3, 4, 4), np.uint8), (1, 4, 4), "float32", "('batch', 1, 4, 4)"),
        (np.zeros((20, 3), np.float32), (4,), "float32", "('batch', 3)"),
        (np.zeros((20, 3), np.float32), (3, 1), "float32", "('batch', 3, 1)"),
        (np.zeros((20, 3)), (3,), "float32", "astype('float32')"),
    ],
)
def test_another_shape_or_type(data, array, shape, dtype, words):
    with pytest.raises(InputError) as caught:
        fit_inputs(data(array), [InputShape("input", shape, dtype)])
    assert words in str(caught.value), str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("input_ids", 8), ("attention_mask", -1)])
def test_a_number_that_the_backbone_does_not_know(tune_config, write_npz, name, value):
    arrays = {each: np.ones((20, 4), np.int64) for each in ("input_ids", "attention_mask")}
    wanted = [
        InputShape("input_ids", (4,), "int64", count=8),
        InputShape("attention_mask", (4,), "int64", count=2),
    ]
    labels = np.arange(20) % 2
    data = load_tune_data(tune_config(write_npz(**arrays, y=labels)))
    assert fit_inputs(data, wanted).inputs == data.inputs
    arrays[name][13, 2] = value
    data = load_tune_data(tune_config(write_npz(**arrays, y=labels)))
    with pytest.raises(InputError, match=f"input '{name}' holds {value}; the backbone takes 0 to"):
        fit_inputs(data, wanted)

from __future__ import annotations

import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import InputError
from edgeexit.graph.recipe import check_ranges

TEXT = (TensorSpec("ids", "int64", ("batch", "seq")), TensorSpec("mask", "int64", ("batch", "seq")))
BATCHES = {"batch": (1, 32, 32)}


def test_every_symbol_has_a_range():
    found = check_ranges(TEXT, {"seq": (16, 64, 128)}, BATCHES)
    assert found == {"batch": (1, 32, 32), "seq": (16, 64, 128)}


def test_a_range_of_the_batch_replaces_the_buckets():
    found = check_ranges(TEXT[:1], {"seq": (1, 2, 3), "batch": (1, 4, 4)}, BATCHES)
    assert found["batch"] == (1, 4, 4)


def test_a_fixed_model_has_no_ranges():
    assert check_ranges((TensorSpec("image", "float32", (1, 3, 8, 8)),), {}, BATCHES) == {}


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({}, "dimension 'seq' is dynamic"),
        (
            {"length": (1, 2, 3)},
            "range of 'length' names no dynamic dimension: the model has batch",
        ),
        ({"seq": (64, 16, 128)}, "range of 'seq' cannot be 64, 16, 128"),
        ({"seq": (0, 16, 128)}, "range of 'seq' cannot be 0, 16, 128"),
        ({"seq": (1, 2, 3), "batch": (2, 4, 8)}, "range of 'batch' cannot be 2, 4, 8"),
        ({"seq": (1, 2, 1 << 31)}, "range of 'seq' cannot be 1, 2, 2147483648"),
    ],
)
def test_unusable_ranges_are_refused(ranges, words):
    with pytest.raises(InputError, match=words) as caught:
        check_ranges(TEXT, ranges, BATCHES)
    assert caught.value.code == "input.range"

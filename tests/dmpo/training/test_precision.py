"""What precision means on a device."""

from __future__ import annotations

import pytest
import torch

from edgeexit.dmpo.training.precision import compute_type
from edgeexit.errors import InputError
from edgeexit.targets.processor import read_processor

CPU = torch.device("cpu")


def product(precision):
    with compute_type(precision, CPU).autocast():
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_each_name_gives_its_type_of_products():
    assert product("f32") == torch.float32
    assert product("bf16") == torch.bfloat16


def test_auto_is_bfloat16_where_the_processor_computes_it():
    expected = torch.bfloat16 if read_processor().computes_bf16 else torch.float32
    assert product("auto") == expected


def test_float16_without_a_gpu_is_refused():
    with pytest.raises(InputError, match="'fp16' on the device 'cpu'") as caught:
        compute_type("fp16", CPU)
    assert caught.value.code == "tune.precision"
    assert 'precision = "auto"' in caught.value.hint


def test_only_float16_scales_the_loss():
    assert not compute_type("bf16", CPU).scaler().is_enabled()
    assert not compute_type("f32", CPU).scaler().is_enabled()

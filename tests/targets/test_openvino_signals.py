"""OpenVINO changes a thread's signal stack while it compiles; it has to be put back."""

from __future__ import annotations

import sys

import numpy as np
import pytest

openvino = pytest.importorskip("openvino")
from edgeexit.targets.openvino.signals import kept_signal_stack, signal_stack  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has sigaltstack")


def compiled():
    from openvino import opset13 as ops

    data = ops.parameter([1, 8], np.float32, name="x")
    model = openvino.Model([ops.matmul(data, np.ones((8, 8), np.float32), False, False)], [data])
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 2})


def test_models_that_go_first_in_first_out_leave_the_signal_stack_as_it_was():
    before = signal_stack()
    with kept_signal_stack():
        first = compiled()
    with kept_signal_stack():
        second = compiled()
    assert signal_stack() == before
    del first
    assert signal_stack() == before
    del second
    assert signal_stack() == before

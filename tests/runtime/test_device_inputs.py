from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edgeexit.runtime.device_inputs import is_on_device


@pytest.mark.parametrize(
    ("kind", "there"), [(1, False), (3, False), (2, True), (13, True)], ids=str
)
def test_pinned_memory_is_the_cpus(kind, there):
    """DLPack's devices: CPU, pinned by CUDA, CUDA, managed by CUDA."""
    assert is_on_device(SimpleNamespace(__dlpack_device__=lambda: (kind, 0))) is there


def test_without_dlpack_the_cuda_array_interface_tells():
    assert is_on_device(SimpleNamespace(__cuda_array_interface__={}))
    assert not is_on_device(np.zeros(3))
    assert not is_on_device([1, 2, 3])

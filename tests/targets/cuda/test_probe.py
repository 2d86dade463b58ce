"""What is said where CUDA cannot be used: by NVIDIA's library here, by fakes for other machines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeexit.targets.cuda.library import wheels
from edgeexit.targets.cuda.probe import CudaProbe, probe_cuda
from edgeexit.targets.cuda.runtime import CudaRuntime
from edgeexit.targets.info import Unavailable
from tests.targets.cuda.fakes import fake_library


def test_without_a_driver():
    if not wheels():
        pytest.skip("the package nvidia-cuda-runtime is not here")
    if CudaRuntime.load(Path(wheels()[0])).driver_version() != 0:
        pytest.skip("there is an NVIDIA driver here")
    found = probe_cuda()
    assert isinstance(found, Unavailable)
    assert found.reason.endswith("is here, but there is no NVIDIA driver.")
    assert "nvidia-smi" in found.hint
    assert "--runtime nvidia" in found.hint


def test_without_a_library(tmp_path):
    found = probe_cuda(tmp_path / "libcudart.so")
    assert isinstance(found, Unavailable)
    assert "no usable CUDA runtime library (libcudart, 11.4 or newer)" in found.reason


def test_a_fake_whose_driver_is_too_old(tmp_path):
    found = probe_cuda(fake_library(tmp_path, runtime=13000, driver=12060))
    assert found.reason == "the NVIDIA driver serves CUDA 12.6, but the library here is CUDA 13.0."
    assert "pip install nvidia-cuda-runtime-cu12" in found.hint


@pytest.mark.parametrize(
    ("fail", "said"), [(0, "CUDA finds no GPU."), (100, r"cudaGetDeviceCount failed: .*error 100")]
)
def test_a_fake_without_a_gpu_tells_of_the_groups(tmp_path, fail, said):
    found = probe_cuda(fake_library(tmp_path, count=0, fail=fail))
    assert isinstance(found, Unavailable)
    assert re.search(said, found.reason)
    for way in ("CUDA_VISIBLE_DEVICES", "video", "render", "--runtime nvidia"):
        assert way in found.hint


def test_a_fake_with_a_gpu(tmp_path):
    library = fake_library(tmp_path, runtime=12060, driver=13000, count=2)
    found = probe_cuda(library)
    assert isinstance(found, CudaProbe)
    assert (found.runtime, found.driver, found.count) == ("12.6", "13.0", 2)
    assert (found.library, found.device.name) == (str(library), "Fake Orin")

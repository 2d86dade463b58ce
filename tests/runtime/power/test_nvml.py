"""NVML against a fake of it in C: that the calls go through, and what is said where they do not."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.find import find_meter
from edgeexit.runtime.power.nvml import Nvml, NvmlMeter

SOURCE = r"""
#include <stdio.h>
#include <string.h>
static unsigned long long count = FIRST;
static int opened;
int nvmlInit_v2(void) { opened++; return INIT; }
int nvmlShutdown(void) { opened--; return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **handle) { *handle = &count; return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
  *handle = &count;
  return strcmp(uuid, "GPU-1") ? 6 : 0;
}
int nvmlDeviceGetName(void *handle, char *name, unsigned size) {
  snprintf(name, size, "Fake GPU");
  return handle == &count ? 0 : 2;
}
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *mj) {
  if (!opened) return 1;
  *mj = count;
  count += STEP;
  return handle == &count ? ENERGY : 2;
}
const char *nvmlErrorString(int status) {
  return status == 3 ? "Not Supported" : status == 4 ? "Insufficient Permissions" : "Unknown Error";
}
"""


@pytest.fixture
def fake(tmp_path):
    """Build a fake NVML; keywords change what it answers."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")

    def build(**answers):
        chosen = {"FIRST": 5000, "STEP": 40, "COUNT": 1, "INIT": 0, "ENERGY": 0} | answers
        source, library = tmp_path / "fake.c", tmp_path / f"libfake{len(answers)}.so"
        source.write_text(SOURCE)
        defined = [f"-D{name}={value}" for name, value in chosen.items()]
        subprocess.run([compiler, "-shared", "-fPIC", *defined, source, "-o", library], check=True)
        return str(library)

    return build


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_joules_of_a_gpu(fake):
    meter = NvmlMeter(Nvml(fake()))
    assert (meter.info.kind, meter.info.source) == ("nvml", "NVML Fake GPU")
    assert (meter.info.estimated, meter.info.resolution) == (False, 0.1)
    assert [meter.read(), meter.read(), meter.read()] == pytest.approx([0.04, 0.08, 0.12])
    meter.close()
    meter.close()
    with pytest.raises(ResourceError, match="nvmlDeviceGetTotalEnergyConsumption failed"):
        meter.read()


@pytest.mark.parametrize(
    ("answers", "said", "hint"),
    [
        ({"INIT": 9}, "nvmlInit_v2 failed: Unknown Error (9)", "nvidia-smi lists the GPU"),
        ({"ENERGY": 3}, "failed: Not Supported (3)", "a Jetson's has not"),
        ({"ENERGY": 4}, "failed: Insufficient Permissions (4)", "--gpus all"),
        ({"COUNT": 2}, "NVML sees 2 GPUs", "CUDA_VISIBLE_DEVICES to the UUID"),
        ({"FIRST": 0}, "says 0 J since the driver was loaded", "leave this measurement out"),
        ({"STEP": 0}, "says 0 J in 0.5 s: a count that rises", "leave this measurement out"),
        ({"STEP": 10**12}, "at most 2000 W would be right", "leave this measurement out"),
        ({"STEP": "-40"}, "a count that does not fall", "leave this measurement out"),
    ],
)
def test_an_nvml_that_does_not_measure_is_refused_and_named(tmp_path, fake, answers, said, hint):
    with pytest.raises(ResourceError) as caught:
        find_meter(tmp_path, gpu=True, library=fake(**answers))
    assert caught.value.code == "power.none"
    assert said in caught.value.message
    assert hint in caught.value.message


def test_a_gpu_by_its_uuid(monkeypatch, fake):
    library = fake(COUNT=4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2")
    assert NvmlMeter(Nvml(library)).read() == pytest.approx(0.04)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7")
    with pytest.raises(ResourceError, match="nvmlDeviceGetHandleByUUID failed"):
        NvmlMeter(Nvml(library))


def test_a_library_that_is_no_nvml():
    with pytest.raises(ResourceError, match="is no NVML: it has no function nvmlInit_v2"):
        Nvml("libc.so.6")


def test_no_library():
    with pytest.raises(OSError, match="libnothing"):
        Nvml("libnothing.so")

"""Every call against NVIDIA's own library without a driver, and against a fake one.

The real library proves the errors, their names and numbers. The fake proves the order of the
arguments. Neither proves that anything runs on a GPU.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import psutil
import pytest

from edgeexit.errors import TargetError
from edgeexit.targets.cuda import runtime
from edgeexit.targets.cuda.faults import HINTS
from edgeexit.targets.cuda.library import wheels
from edgeexit.targets.cuda.runtime import CudaDevice, CudaRuntime
from tests.targets.cuda.fakes import fake_library

CALLS = {
    "device_count": ("cudaGetDeviceCount",),
    "device": ("cudaGetDeviceProperties",),
    "use": ("cudaSetDevice", 0),
    "memory_info": ("cudaMemGetInfo",),
    "malloc": ("cudaMalloc", 16),
    "free": ("cudaFree", 4096),
    "host_alloc": ("cudaHostAlloc", 16),
    "free_host": ("cudaFreeHost", 4096),
    "copy": ("cudaMemcpyAsync", 4096, 8192, 16, 0),
    "copy_2d": ("cudaMemcpy2DAsync", 4096, 8, 8192, 8, 4, 2, 0),
    "stream_create": ("cudaStreamCreateWithFlags",),
    "stream_destroy": ("cudaStreamDestroy", 4096),
    "stream_synchronize": ("cudaStreamSynchronize", 0),
    "event_create": ("cudaEventCreateWithFlags",),
    "event_destroy": ("cudaEventDestroy", 4096),
    "event_record": ("cudaEventRecord", 4096, 0),
    "event_synchronize": ("cudaEventSynchronize", 4096),
    "event_elapsed": ("cudaEventElapsedTime", 4096, 8192),
    "begin_capture": ("cudaStreamBeginCapture", 4096),
    "end_capture": ("cudaStreamEndCapture", 4096),
    "instantiate": ("cudaGraphInstantiateWithFlags", 4096),
    "launch": ("cudaGraphLaunch", 4096, 0),
    "graph_destroy": ("cudaGraphDestroy", 4096),
    "exec_destroy": ("cudaGraphExecDestroy", 4096),
}


@pytest.fixture(scope="module")
def real():
    if not wheels():
        pytest.skip("the package nvidia-cuda-runtime is not here")
    return CudaRuntime.load(Path(wheels()[0]))


@pytest.fixture
def driverless(real):
    if real.driver_version() != 0:
        pytest.skip("there is an NVIDIA driver here: these are the errors without one")
    return real


def test_every_method_is_called_below():
    methods = {name for name in vars(CudaRuntime) if not name.startswith("_")}
    assert methods - {"load", "runtime_version", "driver_version"} == CALLS.keys()


@pytest.mark.parametrize("method", CALLS)
def test_without_a_driver_each_call_says_so(driverless, method):
    call, *arguments = CALLS[method]
    with pytest.raises(TargetError) as caught:
        getattr(driverless, method)(*arguments)
    assert caught.value.message == (
        f"{call} failed: cudaErrorInsufficientDriver (CUDA error 35): "
        "CUDA driver version is insufficient for CUDA runtime version."
    )
    assert caught.value.code == "target.cuda"
    assert "nvidia-smi" in caught.value.hint
    assert "--runtime nvidia" in caught.value.hint


def test_the_versions(real):
    major = int(wheels()[0].rpartition(".so.")[2].partition(".")[0])
    assert real.runtime_version() // 1000 == major
    assert real.library == wheels()[0]


def test_with_a_fake_a_failure_does_not_stay_as_the_processes_last_error(tmp_path):
    cuda = CudaRuntime.load(fake_library(tmp_path, fail=2))
    last = cuda._functions["cudaGetLastError"]
    cuda._functions["cudaMalloc"](ctypes.byref(ctypes.c_void_p()), 16)
    assert last() == 2
    with pytest.raises(TargetError):
        cuda.malloc(16)
    assert last() == 0


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "cudaErrorInvalidValue"),
        (2, "cudaErrorMemoryAllocation"),
        (3, "cudaErrorInitializationError"),
        (35, "cudaErrorInsufficientDriver"),
        (46, "cudaErrorDevicesUnavailable"),
        (100, "cudaErrorNoDevice"),
        (101, "cudaErrorInvalidDevice"),
        (700, "cudaErrorIllegalAddress"),
        (702, "cudaErrorLaunchTimeout"),
        (714, "cudaErrorHardwareStackError"),
        (715, "cudaErrorIllegalInstruction"),
        (716, "cudaErrorMisalignedAddress"),
        (717, "cudaErrorInvalidAddressSpace"),
        (718, "cudaErrorInvalidPc"),
        (719, "cudaErrorLaunchFailure"),
        (801, "cudaErrorNotSupported"),
        (803, "cudaErrorSystemDriverMismatch"),
        (804, "cudaErrorCompatNotSupportedOnDevice"),
        (999, "cudaErrorUnknown"),
    ],
)
def test_the_hints_are_for_the_errors_they_are_meant_for(real, number, name):
    error = real._failure("cudaMalloc", number)
    assert f"{name} (CUDA error {number}): " in error.message
    assert error.hint == HINTS[number]


def test_every_hint_is_checked_above():
    checked = test_the_hints_are_for_the_errors_they_are_meant_for.pytestmark[0].args[1]
    assert {number for number, _ in checked} == HINTS.keys()


def test_a_number_that_cuda_does_not_know(real):
    error = real._failure("cudaMalloc", 12345)
    assert error.message == (
        "cudaMalloc failed: unrecognized error code (CUDA error 12345): unrecognized error code."
    )
    assert "edgeexit doctor" in error.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot open shared object file"),
        (b"no library at all\n", "invalid ELF header|file too short"),
        (b"", "file too short"),
        (b"\x7fELF\x02\x01\x01" + bytes(200), "libcudart.so"),
    ],
)
def test_a_file_that_is_no_library(tmp_path, content, said):
    file = tmp_path / "libcudart.so"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TargetError, match=said) as caught:
        CudaRuntime.load(file)
    assert caught.value.code == "target.cuda-missing"
    assert str(file) in caught.value.message
    assert "pip install nvidia-cuda-runtime" in caught.value.hint
    assert "nvidia-jetpack" in caught.value.hint


def test_a_library_of_something_else():
    other = next(Path(psutil.__file__).parent.glob("*.so"))
    with pytest.raises(TargetError, match="has no function cudaRuntimeGetVersion") as caught:
        CudaRuntime.load(other)
    assert caught.value.code == "target.cuda-missing"


def test_no_library_anywhere_names_all_that_was_tried(monkeypatch):
    monkeypatch.setattr(runtime, "candidates", lambda: ("libnocuda.so.13", "/no/libnocuda.so.12"))
    with pytest.raises(TargetError) as caught:
        CudaRuntime.load()
    assert "libnocuda.so.13: cannot open" in caught.value.message
    assert "/no/libnocuda.so.12: cannot open" in caught.value.message


def test_of_several_the_one_the_driver_serves_is_taken(tmp_path, monkeypatch):
    new = str(fake_library(tmp_path, runtime=13000, driver=12060))
    fit = str(fake_library(tmp_path, runtime=12040, driver=12060))
    monkeypatch.setattr(runtime, "candidates", lambda: (new, fit))
    assert CudaRuntime.load().library == fit
    monkeypatch.setattr(runtime, "candidates", lambda: ("libnocuda.so", new))
    assert CudaRuntime.load().library == new


def test_a_fake_gets_its_arguments_and_its_results_come_back(tmp_path):
    cuda = CudaRuntime.load(fake_library(tmp_path))
    assert (cuda.runtime_version(), cuda.driver_version(), cuda.device_count()) == (12060, 12060, 1)
    assert cuda.device() == CudaDevice(
        "Fake Orin", (8, 7), 8_000_000_000, True, "GPU-01020304-0506-0708-090a-0b0c0d0e0f10"
    )
    assert cuda.memory_info() == (5, 8)
    assert cuda.malloc(16) == 0x7F0000000010
    assert cuda.host_alloc(16) == 17
    cuda.free(4096)
    cuda.copy(1, 2, 3, 5)
    cuda.copy_2d(1, 2, 3, 4, 5, 6, 7)
    assert cuda.event_elapsed(1, 2) == 1.5
    stream = cuda.stream_create()
    cuda.begin_capture(stream)
    graph = cuda.end_capture(stream)
    executable = cuda.instantiate(graph)
    assert (stream, graph, executable) == (11, 21, 31)
    cuda.launch(executable, stream)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("free", (1,)), ("copy", (2, 1, 3, 5)), ("launch", (11, 31)), ("device", (1,))],
)
def test_a_fake_refuses_other_arguments(tmp_path, method, arguments):
    with pytest.raises(TargetError, match=r"fake name \(CUDA error 1\): fake words"):
        getattr(CudaRuntime.load(fake_library(tmp_path)), method)(*arguments)


def test_freeing_while_the_process_ends_is_no_failure(tmp_path):
    CudaRuntime.load(fake_library(tmp_path)).free(4)


def test_out_of_memory_with_a_fake_tells_of_the_shared_memory(tmp_path):
    with pytest.raises(TargetError, match="cudaErrorMemoryAllocation") as caught:
        CudaRuntime.load(fake_library(tmp_path, fail=2)).malloc(16)
    assert "shared with the CPU" in caught.value.hint

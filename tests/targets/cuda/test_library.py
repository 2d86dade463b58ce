"""Where the library is looked for, and that its functions are declared as NVIDIA's header has."""

from __future__ import annotations

import re
import subprocess
import sys
from ctypes import c_void_p
from pathlib import Path

import psutil
import pytest

from edgeexit.targets.cuda import library
from edgeexit.targets.cuda.library import STATUS, WORDS, bind, candidates, loaded, wheels
from tests.targets.cuda.fakes import fake_library

MAPS = """\
7f1c00000000-7f1c00021000 r-xp 00000000 08:01 42 /opt/torch/lib/libcudart-d0da41ae.so.11.0
7f1c00021000-7f1c00030000 rw-p 00021000 08:01 42 /opt/torch/lib/libcudart-d0da41ae.so.11.0
7f1c10000000-7f1c10021000 r-xp 00000000 08:01 43 /usr/lib/libcuda.so.1
7f1c20000000-7f1c20021000 r-xp 00000000 08:01 44 /opt/app/libcudart.so.12.6.77
7f1c30000000-7f1c30021000 r-xp 00000000 08:01 45 /opt/gone/libcudart.so.12 (deleted)
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0  [stack]
"""


@pytest.fixture(scope="module")
def headers():
    found = [Path(file).parents[1] / "include" for file in wheels()]
    if not found or not (found[0] / "cuda_runtime_api.h").exists():
        pytest.skip("the package nvidia-cuda-runtime, which has NVIDIA's headers, is not here")
    names = ("cuda_runtime_api.h", "driver_types.h")
    return {name: (found[0] / name).read_text() for name in names}


def is_pointer(word):
    """Whether a parameter of C is a pointer or one of CUDA's handles, which are pointers."""
    handle = re.search(r"\bcuda(Stream|Event|Graph|GraphExec)_t\b", word)
    return "*" in word or handle is not None


@pytest.mark.parametrize("name", [*STATUS, *WORDS])
def test_each_function_takes_what_nvidias_header_says(headers, name):
    pattern = rf"CUDARTAPI {name}\(([^;]*)\);"
    declared = re.search(pattern, headers["cuda_runtime_api.h"])
    words = [] if declared[1] == "void" else re.sub(r"__dv\([^)]*\)", "", declared[1]).split(",")
    ours = (STATUS | WORDS)[name]
    assert [kind is c_void_p or hasattr(kind, "contents") for kind in ours] == [
        is_pointer(word) for word in words
    ]


def test_the_properties_begin_as_nvidias_header_says(headers):
    struct = headers["driver_types.h"].split("cudaDeviceProp\n{")[1]
    members = re.findall(r"^\s+(?:unsigned )?\w+\s+(\w+)(?:\[(\d+)\])?;", struct, re.MULTILINE)
    assert members[:5] == [
        ("name", "256"),
        ("uuid", ""),
        ("luid", "8"),
        ("luidDeviceNodeMask", ""),
        ("totalGlobalMem", ""),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cudaDevAttrIntegrated", 18),
        ("cudaDevAttrComputeCapabilityMajor", 75),
        ("cudaDevAttrComputeCapabilityMinor", 76),
        ("cudaMemcpyDefault", 4),
        ("cudaStreamCaptureModeThreadLocal", 1),
        ("cudaErrorCudartUnloading", 4),
        ("cudaErrorInsufficientDriver", 35),
    ],
)
def test_the_numbers_are_those_of_nvidias_header(headers, name, value):
    assert re.search(rf"{name}\s*=\s*{value}\b", headers["driver_types.h"])


def test_libraries_of_this_process_are_found_once_each(tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(MAPS)
    assert loaded(maps) == (
        "/opt/torch/lib/libcudart-d0da41ae.so.11.0",
        "/opt/app/libcudart.so.12.6.77",
    )
    assert loaded(tmp_path / "none") == ()


def test_one_that_is_loaded_is_found_in_its_process(tmp_path):
    # In a process of its own: later tests would take the fake for the library of this one.
    file = tmp_path / "libcudart-fake.so.12"
    fake_library(tmp_path).rename(file)
    code = (
        "import sys; from edgeexit.targets.cuda.library import bind, loaded; "
        "print(sys.argv[1] in loaded(), bool(bind(sys.argv[1])), sys.argv[1] in loaded())"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, check=True)
    assert done.stdout.split() == [b"False", b"True", b"True"]


def test_the_order_of_the_places(tmp_path, monkeypatch):
    maps = tmp_path / "maps"
    maps.write_text(MAPS)
    (tmp_path / "libcudart.so.12").touch()
    monkeypatch.setattr(library, "wheels", lambda: ("/wheel/libcudart.so.13",))
    assert list(candidates(maps, tmp_path)) == [
        "/opt/torch/lib/libcudart-d0da41ae.so.11.0",
        "/opt/app/libcudart.so.12.6.77",
        "/wheel/libcudart.so.13",
        "libcudart.so.13",
        "libcudart.so.12",
        "libcudart.so.11.0",
        str(tmp_path / "libcudart.so.12"),
    ]


def test_wheels_of_each_layout_newest_first(tmp_path, monkeypatch):
    files = (
        "cu13/lib/libcudart.so.13",
        "cuda_runtime/lib/libcudart.so.12",
        "cuda_runtime/lib/libcudart.so.11.0",
    )
    for file in files:
        (tmp_path / "nvidia" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nvidia" / file).touch()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    assert wheels() == tuple(str(tmp_path / "nvidia" / file) for file in files)


def test_a_library_that_is_none_of_cudas_is_refused():
    other = next(Path(psutil.__file__).parent.glob("*.so"))
    with pytest.raises(ValueError, match=r"\.so has no function cudaRuntimeGetVersion$"):
        bind(str(other))


def test_a_library_that_is_too_old_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is CUDA 10\.2, older than 11\.4$"):
        bind(str(fake_library(tmp_path, runtime=10020)))

"""Where libcudart lies, and the types of its functions.

Only functions are used that have one and the same C signature from CUDA 11.4 to 13:
``cudaGraphInstantiateWithFlags`` in place of ``cudaGraphInstantiate``, which got another one in
CUDA 12, and attributes in place of ``cudaDeviceProp``, whose tail changes with every version.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path
from typing import Any

OLDEST = 11040
"""CUDA 11.4, the first with all functions below; 11040 as CUDA counts."""

SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
"""What ld.so knows the library by, newest first."""

TOOLKIT = Path("/usr/local/cuda/lib64")
"""Where NVIDIA's installers put the library; ld.so is not always told."""

MAPS = Path("/proc/self/maps")

_LOADED = re.compile(r"\S*/libcudart[^/\s]*\.so[^/\s]*$", re.MULTILINE)

_HANDLE = POINTER(c_void_p)
_COPY = (c_void_p, c_void_p, c_size_t, c_int, c_void_p)
_COPY_2D = (c_void_p, c_size_t, c_void_p, c_size_t, c_size_t, c_size_t, c_int, c_void_p)

STATUS: Mapping[str, tuple[Any, ...]] = {
    "cudaRuntimeGetVersion": (POINTER(c_int),),
    "cudaDriverGetVersion": (POINTER(c_int),),
    "cudaGetDeviceCount": (POINTER(c_int),),
    "cudaGetDeviceProperties": (c_void_p, c_int),
    "cudaDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cudaSetDevice": (c_int,),
    "cudaMemGetInfo": (POINTER(c_size_t), POINTER(c_size_t)),
    "cudaMalloc": (_HANDLE, c_size_t),
    "cudaFree": (c_void_p,),
    "cudaHostAlloc": (_HANDLE, c_size_t, c_uint),
    "cudaFreeHost": (c_void_p,),
    "cudaMemcpyAsync": _COPY,
    "cudaMemcpy2DAsync": _COPY_2D,
    "cudaStreamCreateWithFlags": (_HANDLE, c_uint),
    "cudaStreamDestroy": (c_void_p,),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaEventCreateWithFlags": (_HANDLE, c_uint),
    "cudaEventDestroy": (c_void_p,),
    "cudaEventRecord": (c_void_p, c_void_p),
    "cudaEventSynchronize": (c_void_p,),
    "cudaEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cudaStreamBeginCapture": (c_void_p, c_int),
    "cudaStreamEndCapture": (c_void_p, _HANDLE),
    "cudaGraphInstantiateWithFlags": (_HANDLE, c_void_p, c_ulonglong),
    "cudaGraphLaunch": (c_void_p, c_void_p),
    "cudaGraphDestroy": (c_void_p,),
    "cudaGraphExecDestroy": (c_void_p,),
    "cudaGetLastError": (),
}
"""Argument types of the functions that return a ``cudaError_t`` (CUDA runtime API reference)."""

WORDS: Mapping[str, tuple[Any, ...]] = {
    "cudaGetErrorName": (c_int,),
    "cudaGetErrorString": (c_int,),
}
"""Argument types of the functions that return a text."""

Functions = Mapping[str, Callable[..., Any]]


def bind(file: str) -> Functions:
    """Load a library and return its functions by name, typed.

    Args:
        file: A path, or a name for ld.so.

    Raises:
        OSError: It cannot be loaded.
        ValueError: It is no CUDA runtime of version 11.4 or newer.
    """
    library = ctypes.CDLL(file)
    functions: dict[str, Callable[..., Any]] = {}
    for table, result in ((STATUS, c_int), (WORDS, c_char_p)):
        for name, arguments in table.items():
            try:
                function = library[name]  # an object of its own at each look-up, unlike getattr
            except AttributeError:
                raise ValueError(f"{file} has no function {name}") from None
            function.argtypes = arguments
            function.restype = result
            functions[name] = function
    version = read_int(functions, "cudaRuntimeGetVersion")
    if version < OLDEST:
        raise ValueError(f"{file} is CUDA {version_text(version)}, older than 11.4")
    return functions


def read_int(functions: Functions, name: str) -> int:
    """Return the number that a function of one ``int *`` writes; 0 where it fails."""
    number = c_int(0)
    return 0 if functions[name](ctypes.byref(number)) else number.value


def version_text(version: int) -> str:
    """Return a version in words: 12060 is ``12.6``."""
    return f"{version // 1000}.{version % 1000 // 10}"


def candidates(maps: Path = MAPS, toolkit: Path = TOOLKIT) -> Iterator[str]:
    """Yield paths and ld.so names of CUDA runtime libraries that may be here, best first.

    One that the process has loaded already (with torch, say) comes first: two of one process do
    work, but take memory twice.

    Args:
        maps: What Linux tells of the process's memory.
        toolkit: Folder of a CUDA installation.
    """
    yield from loaded(maps)
    yield from wheels()
    yield from SONAMES
    yield from (str(toolkit / name) for name in SONAMES if (toolkit / name).exists())


def loaded(maps: Path = MAPS) -> tuple[str, ...]:
    """Return the paths of the CUDA runtime libraries in this process, as ``maps`` lists them."""
    try:
        text = maps.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    return tuple(dict.fromkeys(_LOADED.findall(text)))


def wheels() -> tuple[str, ...]:
    """Return the libraries of NVIDIA's ``nvidia-cuda-runtime`` wheels, newest first."""
    try:
        spec = importlib.util.find_spec("nvidia")
    except (ImportError, ValueError):  # something else of that name was imported by hand
        return ()
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = [
        str(file)
        for name in SONAMES
        for folder in folders
        for file in sorted(folder.glob(f"*/lib/{name}"))
    ]
    return tuple(found)

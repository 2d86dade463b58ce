"""A fake libcudart, compiled from a few lines of C.

It proves that arguments and results cross ctypes at the right places. It proves nothing of CUDA:
no GPU, driver or memory stands behind it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeexit.targets.cuda.library import STATUS

_SOURCE = r"""
#include <string.h>
#include <stddef.h>
typedef void *H;
int cudaRuntimeGetVersion(int *v) { *v = RUNTIME; return 0; }
int cudaDriverGetVersion(int *v) { *v = DRIVER; return 0; }
int cudaGetDeviceCount(int *n) { *n = COUNT; return FAIL; }
int cudaGetDeviceProperties(char *p, int index) {
    memset(p, 0, 1032);
    strcpy(p, "Fake Orin");
    for (int i = 0; i < 16; i++) p[256 + i] = (char)(i + 1);
    *(size_t *)(p + 288) = 8000000000u;
    return index;
}
int cudaDeviceGetAttribute(int *v, int attribute, int index) {
    *v = attribute == 18 ? 1 : attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
    return index;
}
int cudaMemGetInfo(size_t *free, size_t *total) { *free = 5; *total = 8; return 0; }
static int last = 0;
int cudaGetLastError(void) { int was = last; last = 0; return was; }
int cudaMalloc(H *p, size_t n) { *p = (H)(n + 0x7f0000000000); last = FAIL; return FAIL; }
int cudaHostAlloc(H *p, size_t n, unsigned flags) { *p = (H)(n + 1); return (int)flags; }
int cudaFree(H p) { return p == (H)4096 ? 0 : p == (H)4 ? 4 : 1; }
int cudaMemcpyAsync(H to, H from, size_t n, int kind, H stream) {
    return !(to == (H)1 && from == (H)2 && n == 3 && kind == 4 && stream == (H)5);
}
int cudaMemcpy2DAsync(H to, size_t tp, H from, size_t fp, size_t w, size_t h, int kind, H stream) {
    return !(to == (H)1 && tp == 2 && from == (H)3 && fp == 4 && w == 5 && h == 6 && kind == 4
             && stream == (H)7);
}
int cudaStreamCreateWithFlags(H *s, unsigned flags) { *s = (H)11; return flags != 1; }
int cudaEventElapsedTime(float *ms, H start, H end) {
    *ms = 1.5f; return start != (H)1 || end != (H)2;
}
int cudaStreamBeginCapture(H s, int mode) { return s != (H)11 || mode != 1; }
int cudaStreamEndCapture(H s, H *graph) { *graph = (H)21; return s != (H)11; }
int cudaGraphInstantiateWithFlags(H *x, H graph, unsigned long long flags) {
    *x = (H)31; return graph != (H)21 || flags != 0;
}
int cudaGraphLaunch(H x, H s) { return x != (H)31 || s != (H)11; }
const char *cudaGetErrorName(int e) { return e == 2 ? "cudaErrorMemoryAllocation" : "fake name"; }
const char *cudaGetErrorString(int e) { return "fake words"; }
"""


def fake_library(
    folder: Path, runtime: int = 12060, driver: int = 12060, count: int = 1, fail: int = 0
) -> Path:
    """Compile a fake libcudart of the given versions that fails with ``fail`` here and there."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here to make the fake libcudart with")
    missing = [name for name in STATUS if f" {name}(" not in _SOURCE]
    stubs = "\n".join(f"int {name}(void) {{ return 0; }}" for name in missing)
    source = folder / "fake.c"
    source.write_text(_SOURCE + stubs)
    library = folder / f"libfake-{runtime}-{driver}-{count}-{fail}.so"
    values = {"RUNTIME": runtime, "DRIVER": driver, "COUNT": count, "FAIL": fail}
    defines = [f"-D{name}={value}" for name, value in values.items()]
    command = [compiler, "-shared", "-fPIC", "-w", *defines, str(source), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True)
    return library

"""A round trip through every CUDA call that the runtime makes; part of the self-test."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from edgeexit.errors import TargetError
from edgeexit.targets.cuda.runtime import CudaRuntime

_BYTES = 16 << 20
_LAUNCHES = 2


def check_cuda(cuda: CudaRuntime) -> str:
    """Copy memory to the GPU and back, in a stream and in a CUDA graph, and compare every byte.

    Returns:
        What was done and how fast, for people.

    Raises:
        TargetError: A call failed (``target.cuda``), or a byte came back changed
            (``target.cuda-data``).
    """
    with ExitStack() as stack:
        sent, back = (_pinned(cuda, stack) for _ in range(2))
        place = cuda.malloc(_BYTES)
        stack.callback(cuda.free, place)
        stream = cuda.stream_create()
        stack.callback(cuda.stream_destroy, stream)
        milliseconds = _copy_in_stream(cuda, stack, (sent, place, back), stream)
        _copy_in_graph(cuda, stack, (sent, place, back), stream)
    speed = 2 * _BYTES / max(milliseconds, 1e-3) / 1e6
    return (
        f"{_BYTES >> 20} MiB to the GPU and back unchanged, in a stream ({speed:.1f} GB/s) and in "
        "a CUDA graph"
    )


Bytes = npt.NDArray[np.uint8]
Way = tuple[tuple[int, Bytes], int, tuple[int, Bytes]]
"""Pinned memory to send, memory of the GPU, pinned memory to receive in."""


def _copy_in_stream(cuda: CudaRuntime, stack: ExitStack, way: Way, stream: int) -> float:
    """Return the milliseconds that the copies took."""
    (source, sent), place, (target, back) = way
    sent[:] = np.resize(np.arange(251, dtype=np.uint8), _BYTES)
    back[:] = 0
    start, end = cuda.event_create(), cuda.event_create()
    stack.callback(cuda.event_destroy, start)
    stack.callback(cuda.event_destroy, end)
    cuda.event_record(start, stream)
    cuda.copy(place, source, _BYTES, stream)
    cuda.copy(target, place, _BYTES, stream)
    cuda.event_record(end, stream)
    cuda.event_synchronize(end)
    _require_equal(sent, back, "a stream")
    return cuda.event_elapsed(start, end)


def _copy_in_graph(cuda: CudaRuntime, stack: ExitStack, way: Way, stream: int) -> None:
    (source, sent), place, (target, back) = way
    cuda.begin_capture(stream)
    try:
        cuda.copy(place, source, _BYTES, stream)
        cuda.copy(target, place, _BYTES, stream)
    finally:
        graph = cuda.end_capture(stream)
    stack.callback(cuda.graph_destroy, graph)
    executable = cuda.instantiate(graph)
    stack.callback(cuda.exec_destroy, executable)
    for launch in range(_LAUNCHES):
        # What a graph copies is read when it is launched, not when it was captured.
        sent[:] = launch + 7
        cuda.launch(executable, stream)
        cuda.stream_synchronize(stream)
        _require_equal(sent, back, "a CUDA graph")


def _pinned(cuda: CudaRuntime, stack: ExitStack) -> tuple[int, Bytes]:
    address = cuda.host_alloc(_BYTES)
    stack.callback(cuda.free_host, address)
    memory = (ctypes.c_uint8 * _BYTES).from_address(address)
    return address, np.frombuffer(memoryview(memory), np.uint8)


def _require_equal(sent: Bytes, back: Bytes, where: str) -> None:
    wrong = int((sent != back).sum())
    if wrong:
        raise TargetError(
            f"{wrong} of {_BYTES} bytes that were copied to the GPU and back in {where} have "
            "changed.",
            hint="the driver, the library or the memory is broken: restart the machine and run "
            "this again.",
            code="target.cuda-data",
        )

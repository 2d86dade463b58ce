"""One loaded libcudart: memory, copies, streams, events and graphs as plain typed calls.

Handles and addresses are integers, as the engines' Python bindings take them. Every call releases
the GIL, so that a thread that waits lets others run.
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeexit.errors import TargetError
from edgeexit.targets.cuda.faults import UNLOADING, call_failure, no_library
from edgeexit.targets.cuda.library import Functions, bind, candidates, read_int

_COPY_DEFAULT = 4  # cudaMemcpyDefault: the driver tells from the addresses where they lie
_NON_BLOCKING = 1  # cudaStreamNonBlocking: no waiting for the application's legacy stream 0
_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: other threads may allocate meanwhile

_INTEGRATED, _MAJOR, _MINOR = 18, 75, 76  # enum cudaDeviceAttr

_PROPERTIES = 16384
"""Bytes handed to cudaGetDeviceProperties; the struct has about 1000 in CUDA 11 to 13."""


class _PropertiesHead(ctypes.Structure):
    """The first members of ``cudaDeviceProp``, at the same place from CUDA 10 to 13."""

    _fields_ = (
        ("name", ctypes.c_char * 256),
        ("uuid", ctypes.c_ubyte * 16),
        ("luid", ctypes.c_ubyte * 8),
        ("luid_mask", ctypes.c_uint),
        ("memory", ctypes.c_size_t),
    )


@dataclass(frozen=True)
class CudaDevice:
    """A GPU.

    Attributes:
        name: Its name, e.g. ``Orin``.
        capability: Compute capability, e.g. ``(8, 7)``.
        memory: All of its memory in bytes; on a Jetson the CPU's as well.
        integrated: Whether it shares its memory with the CPU, as on a Jetson.
        uuid: Its number in the world, ``GPU-`` and 32 hexadecimal digits in groups.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    integrated: bool
    uuid: str


class CudaRuntime:
    """A loaded CUDA runtime library.

    Every method that calls CUDA raises :class:`TargetError` with code ``target.cuda`` where the
    call fails. Calls are for CUDA's current device of the calling thread: 0, or what :meth:`use`
    or the application set. Threads may share an object.

    Args:
        functions: The library's functions by name.
        library: Path or ld.so name it was loaded by.
    """

    def __init__(self, functions: Functions, library: str) -> None:
        self.library = library
        self._functions = functions

    @classmethod
    def load(cls, path: Path | None = None) -> CudaRuntime:
        """Load libcudart: what the process has loaded, NVIDIA's wheel, ld.so's, the toolkit's.

        Of several, the first whose major version the driver serves is taken.

        Args:
            path: The library to take instead.

        Raises:
            TargetError: There is none that is CUDA 11.4 or newer (``target.cuda-missing``).
        """
        places: Iterable[str] = candidates() if path is None else [str(path.absolute())]
        failures: list[str] = []
        usable: CudaRuntime | None = None
        for place in places:
            try:
                found = cls(bind(place), place)
            except (OSError, ValueError) as error:
                failures.append(str(error))
                continue
            if found._is_served():
                return found
            usable = usable or found
        if usable is None:
            raise no_library("; ".join(dict.fromkeys(failures)))
        return usable

    def _is_served(self) -> bool:
        driver = read_int(self._functions, "cudaDriverGetVersion")
        return driver == 0 or self.runtime_version() // 1000 <= driver // 1000

    def runtime_version(self) -> int:
        """Return the library's CUDA version: 12060 is 12.6."""
        return self._int("cudaRuntimeGetVersion")

    def driver_version(self) -> int:
        """Return the newest CUDA version that the driver serves, e.g. 12060; 0 without one."""
        return self._int("cudaDriverGetVersion")

    def device_count(self) -> int:
        """Return the number of GPUs that this process may use. Makes no CUDA context."""
        return self._int("cudaGetDeviceCount")

    def device(self, index: int = 0) -> CudaDevice:
        """Return what CUDA tells of a GPU. Makes no CUDA context."""
        properties = ctypes.create_string_buffer(_PROPERTIES)
        self._call("cudaGetDeviceProperties", properties, index)
        head = _PropertiesHead.from_buffer(properties)
        return CudaDevice(
            name=head.name.decode("utf-8", "replace"),
            capability=(self._attribute(_MAJOR, index), self._attribute(_MINOR, index)),
            memory=head.memory,
            integrated=bool(self._attribute(_INTEGRATED, index)),
            uuid=f"GPU-{uuid.UUID(bytes=bytes(head.uuid))}",
        )

    def use(self, index: int) -> None:
        """Make a GPU the calling thread's current one."""
        self._call("cudaSetDevice", index)

    def memory_info(self) -> tuple[int, int]:
        """Return free and total bytes of the current GPU. Makes a CUDA context."""
        free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def malloc(self, size: int) -> int:
        """Return the address of ``size`` new bytes on the GPU, aligned to 256 bytes."""
        return self._handle("cudaMalloc", size)

    def free(self, address: int) -> None:
        """Free what :meth:`malloc` returned. Waits for the GPU."""
        self._free("cudaFree", address)

    def host_alloc(self, size: int) -> int:
        """Return the address of ``size`` new bytes of pinned memory on the CPU."""
        return self._handle("cudaHostAlloc", size, 0)

    def free_host(self, address: int) -> None:
        """Free what :meth:`host_alloc` returned. Waits for the GPU."""
        self._free("cudaFreeHost", address)

    def copy(self, to: int, source: int, size: int, stream: int) -> None:
        """Copy ``size`` bytes in a stream's order; addresses of GPU or CPU.

        From or to CPU memory that is not pinned, it waits until the copy is made.
        """
        self._call("cudaMemcpyAsync", to, source, size, _COPY_DEFAULT, stream)

    def copy_2d(
        self,
        to: int,
        to_pitch: int,
        source: int,
        source_pitch: int,
        width: int,
        height: int,
        stream: int,
    ) -> None:
        """Copy ``height`` rows of ``width`` bytes, pitch bytes apart, in a stream's order."""
        arguments = (to, to_pitch, source, source_pitch, width, height)
        self._call("cudaMemcpy2DAsync", *arguments, _COPY_DEFAULT, stream)

    def stream_create(self) -> int:
        """Return a new stream that does not wait for the legacy stream 0."""
        return self._handle("cudaStreamCreateWithFlags", _NON_BLOCKING)

    def stream_destroy(self, stream: int) -> None:
        """Drop a stream; what was put into it is still done."""
        self._free("cudaStreamDestroy", stream)

    def stream_synchronize(self, stream: int) -> None:
        """Wait until all that was put into a stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def event_create(self) -> int:
        """Return a new event that keeps its time; waiting for it spins rather than sleeps."""
        return self._handle("cudaEventCreateWithFlags", 0)

    def event_destroy(self, event: int) -> None:
        """Drop an event."""
        self._free("cudaEventDestroy", event)

    def event_record(self, event: int, stream: int) -> None:
        """Put an event into a stream."""
        self._call("cudaEventRecord", event, stream)

    def event_synchronize(self, event: int) -> None:
        """Wait until the stream has reached an event; at once where it was never recorded."""
        self._call("cudaEventSynchronize", event)

    def event_elapsed(self, start: int, end: int) -> float:
        """Return the milliseconds between two events that were reached, to about 0.5 µs."""
        time = ctypes.c_float(0)
        self._call("cudaEventElapsedTime", ctypes.byref(time), start, end)
        return time.value

    def begin_capture(self, stream: int) -> None:
        """Record what this thread puts into a stream, in place of doing it."""
        self._call("cudaStreamBeginCapture", stream, _THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """Return the graph of what was recorded. To be called after a failure inside as well."""
        graph = ctypes.c_void_p(0)
        self._call("cudaStreamEndCapture", stream, ctypes.byref(graph))
        return graph.value or 0

    def instantiate(self, graph: int) -> int:
        """Return a graph made ready to launch; the graph itself may be destroyed then."""
        return self._handle("cudaGraphInstantiateWithFlags", graph, 0)

    def launch(self, executable: int, stream: int) -> None:
        """Put an instantiated graph into a stream."""
        self._call("cudaGraphLaunch", executable, stream)

    def graph_destroy(self, graph: int) -> None:
        """Drop a graph."""
        self._free("cudaGraphDestroy", graph)

    def exec_destroy(self, executable: int) -> None:
        """Drop an instantiated graph; a launch under way is finished."""
        self._free("cudaGraphExecDestroy", executable)

    def _call(self, name: str, *arguments: object) -> None:
        number = self._functions[name](*arguments)
        if number:
            raise self._failure(name, number)

    def _free(self, name: str, handle: int) -> None:
        number = self._functions[name](handle)
        if number not in (0, UNLOADING):
            raise self._failure(name, number)

    def _handle(self, name: str, *arguments: object) -> int:
        handle = ctypes.c_void_p(0)
        self._call(name, ctypes.byref(handle), *arguments)
        return handle.value or 0

    def _int(self, name: str) -> int:
        number = ctypes.c_int(0)
        self._call(name, ctypes.byref(number))
        return number.value

    def _attribute(self, attribute: int, index: int) -> int:
        number = ctypes.c_int(0)
        self._call("cudaDeviceGetAttribute", ctypes.byref(number), attribute, index)
        return number.value

    def _failure(self, name: str, number: int) -> TargetError:
        # Left as CUDA's last error, it would be taken for its own by an application's next check.
        self._functions["cudaGetLastError"]()
        error, words = (
            self._functions[function](number).decode("utf-8", "replace")
            for function in ("cudaGetErrorName", "cudaGetErrorString")
        )
        return call_failure(name, number, error, words)

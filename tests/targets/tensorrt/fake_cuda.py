"""A fake CUDA runtime: it proves addresses, order, waits and lifetimes of our code, no GPU.

"Device" memory is host memory that begins as garbage. Work put into a stream is done only when
somebody waits for it, as late as CUDA could do it: code that reads a result, or overwrites a
source, without having waited for it is caught by its wrong numbers. Freed memory is poisoned and
never used again, and touching it is an error. A capture records work in place of doing it.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeexit.errors import TargetError
from edgeexit.targets.cuda.runtime import CudaDevice

GARBAGE, POISON = 0xAB, 0xDD
Work = Callable[[], None]


class FakeStream:
    def __init__(self) -> None:
        self.work: deque[tuple[int, Work]] = deque()
        self.count = 0
        self.recording: list[Work] | None = None
        self.broken = False
        self.owner = 0


class FakeCuda:
    """The calls of CudaRuntime on host memory.

    Attributes:
        calls: How often each call was made.
        log: Names of the calls in order, without those that only allocate.
        refuse: Names of calls that fail.
    """

    library = "fake"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.calls: Counter[str] = Counter()
        self.log: list[str] = []
        self.refuse: set[str] = set()
        self.device_blocks: dict[int, np.ndarray[Any, Any]] = {}
        self.pinned_blocks: dict[int, np.ndarray[Any, Any]] = {}
        self.freed: list[np.ndarray[Any, Any]] = []
        self.streams: dict[int, FakeStream] = {}
        self.events: dict[int, tuple[FakeStream, int] | None] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.execs: dict[int, list[Work]] = {}
        self._next = 1000

    # What the tests ask.

    def live(self) -> dict[str, int]:
        """Return how many of each kind of thing were made and not freed."""
        kinds = ("device_blocks", "pinned_blocks", "streams", "events", "graphs", "execs")
        return {kind: len(getattr(self, kind)) for kind in kinds}

    def view(self, address: int, size: int) -> np.ndarray[Any, Any]:
        """Return ``size`` bytes at an address that must lie in one live block."""
        with self.lock:
            for blocks in (self.device_blocks, self.pinned_blocks):
                for start, block in blocks.items():
                    if start <= address and address + size <= start + block.size:
                        return block[address - start : address - start + size]
        raise self._failure(f"{size} bytes at {address:#x}: no live memory")

    def put(self, stream: int, work: Work) -> None:
        """Put work into a stream, or into the graph that is being recorded."""
        with self.lock:
            held = self.streams[stream]
            if held.recording is not None:
                assert held.owner == threading.get_ident(), "another thread's work in a capture"
                held.recording.append(work)
            else:
                held.count += 1
                held.work.append((held.count, work))

    def recording(self, stream: int) -> bool:
        return self.streams[stream].recording is not None

    # The calls of CudaRuntime.

    def runtime_version(self) -> int:
        return 12060

    def driver_version(self) -> int:
        return 12060

    def device_count(self) -> int:
        return 1

    def device(self, index: int = 0) -> CudaDevice:
        return CudaDevice("Fake GPU", (8, 7), 1 << 33, True, "GPU-fake")

    def malloc(self, size: int) -> int:
        return self._allocate("malloc", self.device_blocks, size)

    def free(self, address: int) -> None:
        self._release("free", self.device_blocks, address)

    def host_alloc(self, size: int) -> int:
        return self._allocate("host_alloc", self.pinned_blocks, size)

    def free_host(self, address: int) -> None:
        self._release("free_host", self.pinned_blocks, address)

    def copy(self, to: int, source: int, size: int, stream: int) -> None:
        self._count("copy")
        self.view(to, size), self.view(source, size)

        def work() -> None:
            self.view(to, size)[:] = self.view(source, size)

        self.put(stream, work)

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
        self._count("copy_2d")
        assert width <= min(to_pitch, source_pitch)

        def work() -> None:
            for row in range(height):
                part = self.view(source + row * source_pitch, width)
                self.view(to + row * to_pitch, width)[:] = part

        self.put(stream, work)

    def stream_create(self) -> int:
        return self._make("stream_create", self.streams, FakeStream())

    def stream_destroy(self, stream: int) -> None:
        self._count("stream_destroy")
        del self.streams[stream]

    def stream_synchronize(self, stream: int) -> None:
        self._count("stream_synchronize")
        self._not_while_recording()
        if stream in self.streams:
            self._do(self.streams[stream], self.streams[stream].count)

    def event_create(self) -> int:
        return self._make("event_create", self.events, None)

    def event_destroy(self, event: int) -> None:
        self._count("event_destroy")
        del self.events[event]

    def event_record(self, event: int, stream: int) -> None:
        self._count("event_record")
        with self.lock:
            held = self.streams[stream]
            assert held.recording is None
            assert event in self.events
            self.events[event] = held, held.count

    def event_synchronize(self, event: int) -> None:
        self._count("event_synchronize")
        with self.lock:
            recorded = self.events[event]
        if recorded is not None:
            self._do(*recorded)

    def begin_capture(self, stream: int) -> None:
        self._count("begin_capture")
        with self.lock:
            held = self.streams[stream]
            assert held.recording is None
            held.recording, held.broken, held.owner = [], False, threading.get_ident()

    def end_capture(self, stream: int) -> int:
        with self.lock:
            held = self.streams[stream]
            assert held.recording is not None
            recorded, held.recording = held.recording, None
        self._count("end_capture")
        if held.broken:
            raise self._failure("end_capture")
        return self._make("graph", self.graphs, recorded)

    def instantiate(self, graph: int) -> int:
        return self._make("instantiate", self.execs, list(self.graphs[graph]))

    def launch(self, executable: int, stream: int) -> None:
        self._count("launch")
        for work in self.execs[executable]:
            self.put(stream, work)

    def graph_destroy(self, graph: int) -> None:
        self._count("graph_destroy")
        del self.graphs[graph]

    def exec_destroy(self, executable: int) -> None:
        self._count("exec_destroy")
        del self.execs[executable]

    # How they do it.

    def _do(self, stream: FakeStream, count: int) -> None:
        with self.lock:
            while stream.work and stream.work[0][0] <= count:
                stream.work.popleft()[1]()

    def _allocate(self, call: str, blocks: dict[int, Any], size: int) -> int:
        self._count(call)
        self._not_while_recording()
        memory = np.full(size + 256, GARBAGE, np.uint8)
        start = -memory.ctypes.data % 256
        block = memory[start : start + size]
        with self.lock:
            blocks[block.ctypes.data] = block
        return int(block.ctypes.data)

    def _release(self, call: str, blocks: dict[int, Any], address: int) -> None:
        self._count(call)
        self._not_while_recording()
        with self.lock:
            for stream in self.streams.values():
                self._do(stream, stream.count)
            block = blocks.pop(address)
            block[:] = POISON
            # Kept, so that the same address is never given again while a test may find it.
            self.freed.append(block if block.size < 4096 else block[:0])

    def _make(self, call: str, table: dict[int, Any], thing: Any) -> int:
        self._count(call)
        with self.lock:
            self._next += 1
            table[self._next] = thing
            return self._next

    def _not_while_recording(self) -> None:
        """As in CUDA's thread-local capture mode, waiting and allocating break a capture."""
        me = threading.get_ident()
        for stream in self.streams.values():
            if stream.recording is not None and stream.owner == me:
                stream.broken = True
                raise self._failure("a call that a capture does not permit")

    def _count(self, call: str) -> None:
        with self.lock:
            self.calls[call] += 1
            self.log.append(call)
            if call in self.refuse:
                for stream in self.streams.values():
                    stream.broken = stream.recording is not None
                raise self._failure(call)

    def _failure(self, call: str) -> TargetError:
        return TargetError(f"fake CUDA refuses {call}.", hint="mend it.", code="target.cuda")

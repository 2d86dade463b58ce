"""What all engines of one device share: the stream, the scratch memory, the gather engine."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

from edgeexit.errors import TargetError
from edgeexit.targets.cuda.runtime import CudaRuntime
from edgeexit.targets.tensorrt.api import Api
from edgeexit.targets.tensorrt.gather import Gather
from edgeexit.targets.tensorrt.loaded import Loaded, unloadable
from edgeexit.targets.tensorrt.stream import DeviceMemory, Stream

_LOG = logging.getLogger(__name__)


class Session:
    """One device in use; it ends when the last engine and the last buffer are gone.

    Args:
        cuda: The CUDA runtime library.
        api: The TensorRT module.
        gather_plan: Builds or finds the plan of the gather engine; called at the first need.

    Attributes:
        api: As given.
        stream: The one stream that everything runs on.
        loaded: The engines in use, by the key of their plan.

    Raises:
        TargetError: CUDA refused.
    """

    def __init__(self, cuda: CudaRuntime, api: Api, gather_plan: Callable[[], bytes]) -> None:
        self.api = api
        self.stream = Stream(cuda)
        self.loaded: weakref.WeakValueDictionary[str, Loaded] = weakref.WeakValueDictionary()
        self._gather_plan = gather_plan
        self._gather: Gather | None = None
        self._gather_failed = False
        self._scratch: DeviceMemory | None = None
        self._scratch_bytes = 0
        # Reentrant: the gather engine takes its scratch while it is made.
        self._lock = threading.RLock()

    def reserve_scratch(self, size: int) -> None:
        """Let the scratch memory, once needed, hold ``size`` bytes."""
        with self._lock:
            self._scratch_bytes = max(self._scratch_bytes, size)

    def scratch(self) -> DeviceMemory:
        """Return the scratch memory that contexts made from now on share.

        Whoever was given an older, smaller block keeps it: both serve, as work runs in order.

        Raises:
            TargetError: The device has not that much memory.
        """
        with self._lock:
            if self._scratch is None or self._scratch.size < self._scratch_bytes:
                self._scratch = None
                self._scratch = self.stream.device_memory(self._scratch_bytes)
            return self._scratch

    def gather(self) -> Gather | None:
        """Return the engine that takes rows, built or loaded at the first call.

        None, and a warning once, where that fails: copies do the same, only slower.
        """
        with self._lock:
            if self._gather is None and not self._gather_failed:
                try:
                    self._gather = self._load_gather()
                except TargetError as error:
                    self._gather_failed = True
                    _LOG.warning("rows are taken by copies alone: %s", error.message)
            return self._gather

    def _load_gather(self) -> Gather:
        engine = self.api.deserialize(self._gather_plan())
        if engine is None:
            raise unloadable("the plan that gathers rows", self.api)
        loaded = Loaded(self.api, engine, ())
        self.reserve_scratch(loaded.scratch_bytes)
        return Gather(self.stream, loaded, self.scratch())

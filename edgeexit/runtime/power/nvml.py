"""The energy counter of an NVIDIA GPU, through NVML (``libnvidia-ml``) and ctypes.

``nvmlDeviceGetTotalEnergyConsumption`` counts millijoules since the driver was loaded, on Volta
and newer, with an update every 20 to 100 ms (NVML API reference, "Device Queries"). A Jetson's
NVML answers and knows no energy: that it loads proves nothing.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_ulonglong, c_void_p
from time import perf_counter
from typing import Any, NoReturn

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.meter import Meter, MeterInfo
from edgeexit.runtime.power.sensor_file import nonsense

LIBRARY = "libnvidia-ml.so.1"
"""What ld.so knows the driver's library by."""

HIGHEST_POWER = 2000.0
"""Watts of one GPU beyond which a reading is nonsense; the largest are sold at 1,400 W."""

_UPDATE_SECONDS = 0.1
_NAME_BYTES = 96
_NOT_SUPPORTED = 3
_NO_PERMISSION = 4

_FUNCTIONS: Mapping[str, tuple[Any, ...]] = {
    "nvmlInit_v2": (),
    "nvmlShutdown": (),
    "nvmlDeviceGetCount_v2": (POINTER(c_uint),),
    "nvmlDeviceGetHandleByIndex_v2": (c_uint, POINTER(c_void_p)),
    "nvmlDeviceGetHandleByUUID": (c_char_p, POINTER(c_void_p)),
    "nvmlDeviceGetName": (c_void_p, c_char_p, c_uint),
    "nvmlDeviceGetTotalEnergyConsumption": (c_void_p, POINTER(c_ulonglong)),
}
"""Argument types; all return an ``nvmlReturn_t``."""


class Nvml:
    """NVML, initialised. Close it.

    Args:
        library: A path, or a name for ld.so.

    Raises:
        OSError: There is no such library.
        ResourceError: It is no NVML, or does not start.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        self._library = ctypes.CDLL(library)
        self._functions = {name: self._bind(name, types) for name, types in _FUNCTIONS.items()}
        self._words = self._bind("nvmlErrorString", (c_int,), c_char_p)
        self.call("nvmlInit_v2")

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            ResourceError: It fails; the message holds NVML's own words.
        """
        status = self._functions[name](*arguments)
        if status:
            words = (self._words(status) or b"").decode("ascii", "replace")
            self._fail(name, status, words)

    def device(self, visible: str) -> c_void_p:
        """Return the handle of the GPU that CUDA calls device 0.

        Args:
            visible: ``CUDA_VISIBLE_DEVICES``, empty where it is unset.

        Raises:
            ResourceError: There are several, and which one CUDA means is not certain.
        """
        handle, count = c_void_p(), c_uint()
        first = visible.split(",")[0].strip()
        if first.startswith("GPU-"):
            self.call("nvmlDeviceGetHandleByUUID", first.encode("ascii", "replace"), byref(handle))
            return handle
        self.call("nvmlDeviceGetCount_v2", byref(count))
        if count.value != 1:
            raise ResourceError(
                f"NVML sees {count.value} GPUs, and CUDA may number them otherwise.",
                hint="set CUDA_VISIBLE_DEVICES to the UUID of the one to measure (nvidia-smi -L).",
                code="power.nvml",
            )
        self.call("nvmlDeviceGetHandleByIndex_v2", 0, byref(handle))
        return handle

    def name(self, device: c_void_p) -> str:
        """Return a GPU's name."""
        text = ctypes.create_string_buffer(_NAME_BYTES)
        self.call("nvmlDeviceGetName", device, text, _NAME_BYTES)
        return text.value.decode("ascii", "replace")

    def joules(self, device: c_void_p) -> float:
        """Return what a GPU has drawn since the driver was loaded."""
        millijoules = c_ulonglong()
        self.call("nvmlDeviceGetTotalEnergyConsumption", device, byref(millijoules))
        return millijoules.value / 1000

    def close(self) -> None:
        """Leave NVML; an error in this concerns nobody."""
        self._functions["nvmlShutdown"]()

    def _bind(self, name: str, types: tuple[Any, ...], result: Any = c_int) -> Callable[..., Any]:
        try:
            function = self._library[name]
        except AttributeError:
            raise ResourceError(
                f"{self._library._name} is no NVML: it has no function {name}.",
                hint="install NVIDIA's driver anew.",
                code="power.nvml",
            ) from None
        function.argtypes = types
        function.restype = result
        return function

    def _fail(self, name: str, status: int, words: str) -> NoReturn:
        hint = "see that nvidia-smi lists the GPU; if it does, measure again."
        if status == _NOT_SUPPORTED:
            hint = "this GPU has no energy counter: Volta and newer have, a Jetson's has not."
        if status == _NO_PERMISSION:
            hint = "see that this user may open /dev/nvidia*, in a container with --gpus all."
        raise ResourceError(f"{name} failed: {words} ({status}).", hint=hint, code="power.nvml")


class NvmlMeter(Meter):
    """The energy of one GPU, with its memory; nothing of the machine around it.

    Args:
        nvml: NVML; the meter closes it.

    Raises:
        ResourceError: The GPU has no energy counter, or cannot be told.
    """

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._open = True
        try:
            self._device = nvml.device(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
            source = f"NVML {nvml.name(self._device)}"
            start = nvml.joules(self._device)
        except ResourceError:
            self.close()
            raise
        if start <= 0:
            self.close()
            raise nonsense(source, f"{start:g} J since the driver was loaded", "some energy")
        info = MeterInfo("nvml", source, "the GPU with its memory", False, _UPDATE_SECONDS)
        super().__init__(info, HIGHEST_POWER, start)

    def close(self) -> None:
        """Leave NVML. Closing twice is fine."""
        if self._open:
            self._open = False
            self._nvml.close()

    def _count(self) -> tuple[float, float]:
        return self._nvml.joules(self._device), perf_counter()

"""Whether CUDA can be used here, asked before any engine is: those may crash without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexit.errors import TargetError
from edgeexit.targets.cuda.faults import DEVICE_ACCESS, HINTS, NO_DRIVER
from edgeexit.targets.cuda.library import version_text
from edgeexit.targets.cuda.runtime import CudaDevice, CudaRuntime
from edgeexit.targets.info import Unavailable


@dataclass(frozen=True)
class CudaProbe:
    """What was found of CUDA.

    Attributes:
        library: Path or ld.so name of the runtime library.
        runtime: The library's version, e.g. ``12.6``.
        driver: The newest version that the driver serves.
        count: Number of GPUs.
        device: The first of them.
    """

    library: str
    runtime: str
    driver: str
    count: int
    device: CudaDevice


def probe_cuda(path: Path | None = None) -> CudaProbe | Unavailable:
    """Look for library, driver and GPU, in this order; makes no CUDA context, never raises.

    Args:
        path: The runtime library to take; None for :meth:`CudaRuntime.load`'s choice.
    """
    try:
        cuda = CudaRuntime.load(path)
        runtime, driver = cuda.runtime_version(), cuda.driver_version()
        if driver == 0:
            return Unavailable(
                f"CUDA's library {version_text(runtime)} ({cuda.library}) is here, but there is no "
                "NVIDIA driver.",
                HINTS[NO_DRIVER],
            )
        if driver // 1000 < runtime // 1000:
            return _old_driver(runtime, driver)
        count = cuda.device_count()
        if count == 0:
            return Unavailable("CUDA finds no GPU.", DEVICE_ACCESS)
        versions = version_text(runtime), version_text(driver)
        return CudaProbe(cuda.library, *versions, count, cuda.device(0))
    except TargetError as error:
        return Unavailable(error.message, error.hint)


def _old_driver(runtime: int, driver: int) -> Unavailable:
    return Unavailable(
        f"the NVIDIA driver serves CUDA {version_text(driver)}, but the library here is CUDA "
        f"{version_text(runtime)}.",
        "update the driver (a Jetson's comes with JetPack), or install the library of its version: "
        f"pip install nvidia-cuda-runtime-cu{driver // 1000}.",
    )

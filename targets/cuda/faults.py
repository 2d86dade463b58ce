"""What CUDA's error numbers mean to a user, and the errors made of them."""

from __future__ import annotations

from collections.abc import Mapping

from edgeexit.errors import TargetError

NO_DRIVER = 35
"""``cudaErrorInsufficientDriver``: the driver is older than the library, or there is none."""

UNLOADING = 4
"""``cudaErrorCudartUnloading``: the process ends, and the driver has freed all it held."""

DRIVER_MISSING = (
    "on a PC install NVIDIA's driver and see that nvidia-smi lists the GPU, and start a container "
    "with --gpus all; on a Jetson start it with --runtime nvidia; without a GPU choose another "
    "target, such as x86 or cpu."
)

DEVICE_ACCESS = (
    "see that CUDA_VISIBLE_DEVICES is not empty or -1; on a Jetson add the user to the groups "
    "video and render (sudo usermod -aG video,render $USER, then log in again) and start a "
    "container with --runtime nvidia; on a PC nvidia-smi must list the GPU."
)

_BROKEN = (
    "the process's CUDA state is lost: start it again; if it fails the same way each time, run it "
    "under compute-sanitizer and report what that prints."
)

HINTS: Mapping[int, str] = {
    1: "this is a fault in edgeexit: report it with the stage and the batch size.",
    2: "use smaller batches or a smaller model, or stop what else uses the memory: on a Jetson it "
    "is shared with the CPU, so `free -m` tells how much there is.",
    3: "CUDA cannot be used in a process forked from one that has used it: start worker processes "
    "with the method 'spawn'.",
    NO_DRIVER: DRIVER_MISSING,
    46: "another process has the GPU for itself: stop it, or run `nvidia-smi -c DEFAULT`.",
    100: DEVICE_ACCESS,
    101: "use device 0, or set CUDA_VISIBLE_DEVICES to the GPU that is meant.",
    **dict.fromkeys((700, 702, 714, 715, 716, 717, 718, 719), _BROKEN),
    801: "update the driver or JetPack, as this one lacks the function; on a Jetson it also comes "
    "up where the user is not in the groups video and render.",
    803: "the kernel's driver and its libraries differ in version: restart the machine.",
    804: "the CUDA library is newer than this driver serves: update the driver, or install a "
    "nvidia-cuda-runtime of the driver's major version.",
    999: DEVICE_ACCESS,
}
"""What to do next, by CUDA's error number (``enum cudaError``, the same from CUDA 11 to 13)."""

_OTHER = "see CUDA's description of this error; `edgeexit doctor` shows driver and library."


def call_failure(call: str, number: int, name: str, words: str) -> TargetError:
    """Return the error for a CUDA call that failed.

    Args:
        call: Its name, e.g. ``cudaMalloc``.
        number: What it returned.
        name: CUDA's name for that.
        words: CUDA's description of it.
    """
    return TargetError(
        f"{call} failed: {name} (CUDA error {number}): {words}.",
        hint=HINTS.get(number, _OTHER),
        code="target.cuda",
    )


def no_library(tried: str) -> TargetError:
    """Return the error where no CUDA runtime library can be used; ``tried`` tells which failed."""
    return TargetError(
        f"there is no usable CUDA runtime library (libcudart, 11.4 or newer): {tried}.",
        hint="on a PC: pip install nvidia-cuda-runtime (or nvidia-cuda-runtime-cu12 for a driver "
        "of CUDA 12); on a Jetson it comes with JetPack: sudo apt install nvidia-jetpack, or "
        "start the container with --runtime nvidia.",
        code="target.cuda-missing",
    )

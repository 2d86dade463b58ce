"""How much memory this process has used at most, and what to say where it was too much."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator

import psutil
import torch

from edgeexit.errors import ResourceError

_UNITS = {"Linux": 1024}
"""Bytes in the unit of ``ru_maxrss``, where it is not one."""

_CPU_FULL = "DefaultCPUAllocator"
"""What torch names, in an error of no kind of its own, where the machine's memory is full."""


def peak_bytes() -> int:
    """Return the largest resident set so far, in bytes; where no system tells, the present one."""
    try:
        import resource
    except ImportError:
        return int(psutil.Process().memory_info().rss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * _UNITS.get(platform.system(), 1)


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Turn a failed allocation inside the block into an error that says what to make smaller.

    Raises:
        ResourceError: The machine or its GPU ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or _CPU_FULL in str(error)):
            raise
        reason = (str(error).splitlines() or ["it gave no size"])[0]
        raise ResourceError(
            f"the training ran out of memory: {reason[:200]}.",
            hint="lower training.batch and raise training.accumulate, or shorten data.length or "
            "data.size; an interrupted training goes on with the same settings only.",
            code="resource.memory",
        ) from error

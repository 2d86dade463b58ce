"""How much memory this process has used at most."""

from __future__ import annotations

import platform

import psutil

_UNITS = {"Linux": 1024}
"""Bytes in the unit of ``ru_maxrss``, where it is not one."""


def peak_bytes() -> int:
    """Return the largest resident set so far, in bytes; where no system tells, the present one."""
    try:
        import resource
    except ImportError:
        return int(psutil.Process().memory_info().rss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * _UNITS.get(platform.system(), 1)

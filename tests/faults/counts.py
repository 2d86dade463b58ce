"""How often a fault is tried: a count for CI, or with ``EDGEEXIT_FAULTS=full`` the longer one."""

from __future__ import annotations

import os


def count(ci: int, full: int) -> int:
    """Return ``full`` where the environment asks for the longer run, else ``ci``."""
    return full if os.environ.get("EDGEEXIT_FAULTS") == "full" else ci

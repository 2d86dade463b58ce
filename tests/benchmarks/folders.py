"""Where the benchmarks keep what they build, and where they write what they find."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: subprocesses start here, so that they find the same code."""

DOCS = ROOT / "docs"
SCRATCH = ROOT / "build" / "bench"
"""Where quick runs write: their figures are not for the documentation."""


def cache_folder() -> Path:
    """Return the folder of built models: beside ``EDGEEXIT_CACHE``'s own, or ``.cache`` here."""
    chosen = os.environ.get("EDGEEXIT_CACHE")
    root = Path(chosen).expanduser() if chosen else Path(__file__).resolve().parent / ".cache"
    folder = root / "benchmarks" if chosen else root
    folder.mkdir(parents=True, exist_ok=True)
    return folder

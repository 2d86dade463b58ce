"""The small bundle of the self-test: a device has no compiler, so one comes with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeexit.bundle.atomic import writing
from edgeexit.bundle.npz import read_npz

PACKED = Path(__file__).resolve().parent / "selftest.npz"
"""Every file of the bundle as an array of bytes; ``tests/runtime/pack_selftest.py`` makes it."""


def pack_selftest(bundle: Path, packed: Path = PACKED) -> None:
    """Write every file of a bundle's folder into one ``.npz``."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    arrays = {
        path.relative_to(bundle).as_posix(): np.frombuffer(path.read_bytes(), np.uint8)
        for path in files
    }
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]


def unpack_selftest(folder: Path, packed: Path = PACKED) -> Path:
    """Write the bundle into a new folder and return it.

    Raises:
        ResourceError: The place is full or read-only.
    """
    for name, data in read_npz(packed).items():
        file = folder / name
        with writing(folder):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data.tobytes())
    return folder

"""The file of measured kernel times that all builds with one TensorRT on one GPU share.

It only saves time, so anything wrong with it is a note and never an error.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgeexit.bundle.atomic import write_atomic
from edgeexit.errors import ResourceError
from edgeexit.targets.tensorrt.private import privacy_fault

_MAGIC = b"edgeexit timings 1\n"
_DIGEST_BYTES = 32
_MAX_BYTES = 256 << 20


def read_timings(path: Path) -> tuple[bytes, str]:
    """Return what :func:`write_timings` wrote, and why that is nothing where it is.

    TensorRT gets to see no byte that our own digest does not vouch for.
    """
    if not path.exists():
        return b"", ""
    fault = privacy_fault(path.parent) or ("it is a link" if path.is_symlink() else "")
    if fault:
        return b"", f"the timing cache {path} is ignored: {fault}"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        return b"", f"the timing cache {path} is ignored: {error.strerror}"
    body = data[len(_MAGIC) + _DIGEST_BYTES :]
    if len(data) > _MAX_BYTES or data != _sealed(body):
        return b"", f"the timing cache {path} is ignored: it is damaged"
    return body, ""


def write_timings(path: Path, data: bytes) -> str:
    """Write the times atomically; return why they could not be written, empty where they were."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, _sealed(data))
    except OSError as error:
        return f"the timing cache {path} is not kept: {error.strerror}"
    except ResourceError as error:
        return f"the timing cache is not kept: {error.message}"
    return ""


def _sealed(data: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(data).digest() + data

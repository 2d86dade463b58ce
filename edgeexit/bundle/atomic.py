"""Files that are whole or absent: written beside their place, flushed, then renamed onto it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgeexit.bundle.paths import TEMPORARY
from edgeexit.errors import ResourceError, out_of_memory

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_STALE_SECONDS = 3600.0


def resource_error(error: OSError, path: Path) -> ResourceError:
    """Return what a failed write to ``path`` means to the user: disk full, read-only, or other."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOMEM:
        return out_of_memory(f"{path} cannot be written")
    if error.errno in _FULL:
        return ResourceError(
            f"{path} cannot be written: {reason}; what was there before is unchanged.",
            hint="free some space, or write to another disk with --output.",
            code="resource.disk-full",
        )
    if error.errno in _FORBIDDEN:
        return ResourceError(
            f"{path} cannot be written: {reason}.",
            hint="choose a place that you may write to with --output.",
            code="resource.read-only",
        )
    return ResourceError(
        f"{path} cannot be written: {reason}.",
        hint="check the path and the disk, or choose another place with --output.",
        code="resource.write",
    )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a ResourceError about ``path``."""
    try:
        yield
    except OSError as error:
        raise resource_error(error, path) from error


def flush(path: Path) -> None:
    """Force a file or a folder's list of names onto the disk; folders only where that is known."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``: after a crash at any point the old file or the new one is there.

    Raises:
        ResourceError: The disk is full, read-only or failing; the old file is untouched.
    """
    temporary = path.parent / f".edgeexit-{os.urandom(8).hex()}.tmp"
    with writing(path):
        _remove_stale(path.parent)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        flush(path.parent)


def _remove_stale(folder: Path) -> None:
    """Remove what killed writers left; young files may belong to a writer that still lives."""
    oldest = time.time() - _STALE_SECONDS
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime < oldest:
                    path.unlink()

"""Put a new bundle in the place of an old one so that a crash leaves the one or the other."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from pathlib import Path

from edgeexit.bundle.atomic import flush
from edgeexit.bundle.paths import MANIFEST

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_SWAP_SECONDS = 10.0


def lock_path(output: Path) -> Path:
    """Return the lock file beside ``output`` that a writer of it holds."""
    return output.with_name(f".{output.name}.lock")


def staging_prefix(output: Path) -> str:
    """Return how the names of half-written folders beside ``output`` begin."""
    return f".{output.name}.new-"


def aside_path(output: Path) -> Path:
    """Return where the old bundle stands between the two renames of a swap."""
    return output.with_name(f".{output.name}.old")


def is_bundle(folder: Path) -> bool:
    """Return whether ``folder`` is a bundle, sound or damaged, by the head of its manifest."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return file.read(11) == b'{"digest":"'
    except OSError:
        return False


def recover(output: Path) -> None:
    """Restore the old bundle where a crash between two renames left ``output`` missing.

    Where the two renames are just being done, wait for their end instead.
    """
    if os.path.lexists(output) or not is_bundle(aside_path(output)):
        return
    from filelock import FileLock, Timeout

    with (
        contextlib.suppress(OSError, Timeout),
        FileLock(lock_path(output), timeout=_SWAP_SECONDS),
    ):
        _restore(output)


def _restore(output: Path) -> None:
    if not os.path.lexists(output) and is_bundle(aside_path(output)):
        aside_path(output).rename(output)


def clear_leftovers(output: Path) -> None:
    """Remove what killed writers of ``output`` left beside it. The caller holds the lock."""
    _restore(output)
    shutil.rmtree(aside_path(output), ignore_errors=True)
    prefix = staging_prefix(output)
    for path in output.parent.iterdir():
        if path.name.startswith(prefix):
            shutil.rmtree(path, ignore_errors=True)


def swap_in(staged: Path, output: Path) -> None:
    """Rename ``staged`` to ``output`` and remove what was there. The caller holds the lock.

    In one step where Linux can exchange two folders, else in two renames that
    :func:`recover` completes after a crash between them.

    Raises:
        OSError: A rename failed; ``output`` is as it was.
    """
    if not os.path.lexists(output):
        staged.rename(output)
        flush(output.parent)
        return
    aside = aside_path(output)
    if _exchange(staged, output):
        aside = staged
    else:
        output.rename(aside)
        try:
            staged.rename(output)
        except BaseException:
            aside.rename(output)
            raise
    flush(output.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    done = rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return int(done) == 0

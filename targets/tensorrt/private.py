"""Whether a file is the user's own: a plan is native code, and whoever wrote it runs it."""

from __future__ import annotations

import hashlib
import os
import platform
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MACHINE_ID = Path("/etc/machine-id")


def privacy_fault(path: Path) -> str:
    """Return why others could have written a file or folder; empty where none could.

    A link counts as another's, and so does what belongs to anyone but this user or root. Windows
    keeps owners elsewhere: there the user's own folder has to do.
    """
    if os.name == "nt":
        return "it is a link" if path.is_symlink() else ""
    try:
        found = path.lstat()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if stat.S_ISLNK(found.st_mode):
        return "it is a link"
    if found.st_uid not in (os.getuid(), 0):
        return f"it belongs to user {found.st_uid}, not to you (user {os.getuid()})"
    if found.st_mode & _OTHERS_WRITE:
        return f"others may write to it (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


def machine_id() -> str:
    """Return a digest that tells this machine from others, hexadecimal.

    Of systemd's machine id, or of the machine's network name where there is none. An SD card
    copied whole takes the id along; then only the GPU, its driver and its versions tell.
    """
    try:
        identity = _MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        identity = ""
    # machine-id(5) asks that the id itself is never shown.
    text = f"edgeexit plan {identity or platform.node()}"
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]

"""Which file paths a bundle may name: relative, portable, and inside the bundle."""

from __future__ import annotations

import re
from collections.abc import Iterable

MANIFEST = "manifest.json"
EXITS = "exits.json"

TEMPORARY = re.compile(r"\.edgeexit-[0-9a-f]+\.tmp")
"""A file that a killed write of ``exits.json`` may leave behind; ignored, never opened."""

_MAX_LENGTH = 200
_MAX_SEGMENTS = 8
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def path_fault(path: str) -> str | None:
    """Return why ``path`` must not stand in a bundle, or None where it may.

    A path that passes names one and the same file below the bundle on Linux, macOS and Windows.
    """
    if not path or len(path) > _MAX_LENGTH:
        return f"has {len(path)} characters; 1 to {_MAX_LENGTH} are allowed"
    if path.startswith("/"):
        return "is absolute; paths are relative to the bundle"
    if "\\" in path:
        return "holds a backslash; folders are separated by /"
    segments = path.split("/")
    if len(segments) > _MAX_SEGMENTS:
        return f"is {len(segments)} levels deep; at most {_MAX_SEGMENTS} are allowed"
    return next(filter(None, map(_segment_fault, segments)), None)


def _segment_fault(segment: str) -> str | None:
    if segment in ("", ".", ".."):
        return "has an empty, . or .. part and could leave the bundle"
    if not _SEGMENT.fullmatch(segment):
        return "holds characters other than A-Z a-z 0-9 _ . + - or a part that starts with . + -"
    if segment.endswith("."):
        return "has a part that ends in a dot"
    if _RESERVED.fullmatch(segment):
        return "has a part that Windows reserves for a device"
    return None


def clash(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two paths that are one file where case does not count, or None.

    A file and a folder clash too: ``a`` and ``A/b``.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        folded = path.lower()
        if folded in files or folded in folders:
            return files.get(folded) or folders[folded], path
        files[folded] = path
        parts = path.split("/")
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            known = folders.setdefault(folder.lower(), folder)
            if known != folder:
                return known, folder
            if folder.lower() in files:
                return files[folder.lower()], path
    return None

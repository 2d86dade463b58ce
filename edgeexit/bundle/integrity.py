"""Every byte of a bundle against its seal, before an engine sees one.

Engines load corrupted models and answer wrongly, so a bundle is checked here: no file missing,
none extra, no links, no special files, every size and SHA-256 as sealed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

from edgeexit.bundle.jsonfile import damaged
from edgeexit.bundle.paths import EXITS, MANIFEST, TEMPORARY, clash, path_fault
from edgeexit.bundle.specs import FileEntry

_MAX_FILES = 4096
_CHUNK = 1 << 20
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def open_regular(path: Path, where: str) -> BinaryIO:
    """Open a regular file that has one name, following no link.

    Args:
        path: The file.
        where: Its name in messages.

    Raises:
        BundleError: It is missing, unreadable, a symbolic or hard link, or no regular file.
    """
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | _BINARY)
    except FileNotFoundError:
        raise damaged(where, "is missing.", code="bundle.missing-file") from None
    except OSError as error:
        raise damaged(where, f"cannot be opened ({error.strerror}).", code="bundle.file") from None
    try:
        _check_regular(os.fstat(descriptor), where)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check_regular(status: os.stat_result, where: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise damaged(where, "is a symbolic link; a bundle holds plain files.", code="bundle.link")
    if not stat.S_ISREG(status.st_mode):
        raise damaged(where, "is no regular file; a bundle holds plain files.", code="bundle.file")
    if status.st_nlink > 1:
        fault = f"has {status.st_nlink} hard links, so another path can change it; copy it instead."
        raise damaged(where, fault, code="bundle.link")


def read_bounded(path: Path, where: str, limit: int) -> bytes:
    """Return the bytes of a regular file of at most ``limit`` bytes.

    Raises:
        BundleError: As :func:`open_regular`, or the file is larger.
    """
    with open_regular(path, where) as file:
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise damaged(
                where, f"cannot be read ({error.strerror}).", code="bundle.file"
            ) from None
    if len(data) > limit:
        raise damaged(where, f"is larger than the {limit} bytes that are read.")
    return data


def file_entry(folder: Path, relative: str) -> FileEntry:
    """Return the size and SHA-256 of a file of the bundle in ``folder``.

    Raises:
        BundleError: As :func:`open_regular`, or reading fails.
    """
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_CHUNK))
    with open_regular(folder / relative, relative) as file:
        try:
            while count := file.readinto(buffer):  # type: ignore[attr-defined]
                digest.update(buffer[:count])
                size += count
        except OSError as error:
            fault = f"cannot be read ({error.strerror})."
            raise damaged(relative, fault, code="bundle.file") from None
    return FileEntry(relative, size, digest.hexdigest())


def seal_files(folder: Path) -> tuple[FileEntry, ...]:
    """Return an entry a file in ``folder``, sorted by path; the manifest and exits stay out.

    Raises:
        BundleError: A file is a link, special, or has a path that a bundle must not name.
    """
    sizes = _scan(folder)
    paths = sorted(set(sizes) - {MANIFEST, EXITS})
    for path in paths:
        if fault := path_fault(path):
            raise damaged(ascii(path), f"{fault}.", code="bundle.path")
    if pair := clash(paths):
        raise damaged(pair[0], f"and {pair[1]} differ only in case.", code="bundle.path")
    return tuple(file_entry(folder, path) for path in paths)


def verify_files(folder: Path, files: Sequence[FileEntry]) -> None:
    """Check that ``folder`` holds exactly the sealed files, unchanged.

    Sizes are compared before anything is hashed. Paths must have been checked already.

    Raises:
        BundleError: Names the first file that is missing, extra, a link, or changed.
    """
    sizes = _scan(folder)
    sealed = {entry.path: entry for entry in files}
    for path in sorted(sealed.keys() - sizes.keys()):
        raise damaged(path, "is missing from the bundle.", code="bundle.missing-file")
    for path in sorted(sizes.keys() - sealed.keys() - {MANIFEST, EXITS}):
        fault = "is in the folder but not in the manifest; remove it."
        raise damaged(ascii(path), fault, code="bundle.extra-file")
    for entry in files:
        if sizes[entry.path] != entry.size:
            fault = f"has {sizes[entry.path]} bytes, was sealed with {entry.size}."
            raise damaged(entry.path, fault, code="bundle.changed-file")
    for entry in files:
        _verify_digest(file_entry(folder, entry.path), entry, files)


def _verify_digest(found: FileEntry, entry: FileEntry, files: Sequence[FileEntry]) -> None:
    if found == entry:
        return
    other = [each.path for each in files if each.sha256 == found.sha256]
    fault = f"was changed: its SHA-256 is {found.sha256}, was sealed as {entry.sha256}."
    if other:
        fault = f"holds the contents of {other[0]}."
    raise damaged(entry.path, fault, code="bundle.changed-file")


def _scan(folder: Path) -> dict[str, int]:
    """Return the size of every file below ``folder`` by its POSIX path."""
    try:
        return _walk(folder)
    except OSError as error:
        fault = f"cannot be listed ({error.strerror})."
        raise damaged(str(folder), fault, code="bundle.file") from None


def _walk(folder: Path) -> dict[str, int]:
    sizes: dict[str, int] = {}
    pending = [""]
    while pending:
        prefix = pending.pop()
        names = _list(folder, prefix, _MAX_FILES - len(sizes))
        if prefix and not names:
            fault = "is an empty folder, which the manifest does not name; remove it."
            raise damaged(ascii(prefix[:-1]), fault, code="bundle.extra-file")
        for name in names:
            path = prefix + name
            status = os.lstat(folder / path)
            if stat.S_ISDIR(status.st_mode):
                pending.append(f"{path}/")
                continue
            _check_regular(status, ascii(path))
            sizes[path] = status.st_size
    return sizes


def _list(folder: Path, prefix: str, allowed: int) -> Collection[str]:
    names = []
    with os.scandir(folder / prefix) as entries:
        for entry in entries:
            if not prefix and TEMPORARY.fullmatch(entry.name):
                continue
            names.append(entry.name)
            if len(names) > allowed or prefix.count("/") > 8:
                fault = f"holds more than {_MAX_FILES} files or is too deep for a bundle."
                raise damaged(ascii(prefix or "the folder"), fault, code="bundle.extra-file")
    return names

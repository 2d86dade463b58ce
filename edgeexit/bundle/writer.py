"""Write a bundle: built beside its place, sealed, and swapped in whole."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeexit.bundle.atomic import flush, resource_error, writing
from edgeexit.bundle.bundle import GOLDEN, Bundle, Golden, golden_key
from edgeexit.bundle.integrity import seal_files
from edgeexit.bundle.jsonfile import Json, damaged
from edgeexit.bundle.manifest import manifest_bytes
from edgeexit.bundle.paths import MANIFEST, path_fault
from edgeexit.bundle.specs import FileEntry, Manifest
from edgeexit.bundle.swap import clear_leftovers, is_bundle, lock_path, staging_prefix, swap_in
from edgeexit.errors import BundleError, ResourceError

if TYPE_CHECKING:
    from filelock import BaseFileLock


class BundleWriter:
    """Builds a bundle in a folder beside ``output`` and, once sealed, swaps it in.

    Use it as a context manager. Until :meth:`seal` returns, and after any exception or kill,
    ``output`` is what it was. One writer an output at a time; others wait.

    Args:
        output: Where the bundle will be; missing parents are made, a link is followed.
        overwrite: Whether a bundle that is there may be replaced.
        timeout: Seconds to wait for another writer of the same output; negative waits for ever.

    Attributes:
        folder: The folder to put the bundle's files in.
    """

    folder: Path

    def __init__(
        self, output: str | os.PathLike[str], *, overwrite: bool = True, timeout: float = -1
    ) -> None:
        self.output = Path(os.path.realpath(output))
        self._overwrite = overwrite
        self._timeout = timeout
        self._lock: BaseFileLock | None = None

    def __enter__(self) -> BundleWriter:
        """Take the lock, clear what killed writers left, and make the folder.

        Raises:
            BundleError: ``output`` exists and is no bundle, or may not be replaced.
            ResourceError: The place is full, read-only, or locked for longer than ``timeout``.
        """
        _check_output(self.output, self._overwrite)
        with writing(self.output):
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.output, self._timeout)
            try:
                clear_leftovers(self.output)
                _check_output(self.output, self._overwrite)
                name = staging_prefix(self.output) + os.urandom(8).hex()
                self.folder = self.output.parent / name
                self.folder.mkdir()
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the folder unless it was swapped in, and release the lock.

        Raises:
            ResourceError: An OSError came out of the block: the disk is full or read-only.
        """
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            if self._lock:
                self._lock.release()
        if isinstance(error, OSError) and error.errno is not None:
            raise resource_error(error, self.output) from error

    def path(self, relative: str) -> Path:
        """Return where to write the file ``relative``; its folder is made.

        Raises:
            BundleError: A bundle must not name such a path.
        """
        if fault := path_fault(relative):
            raise damaged(ascii(relative)[:210], f"{fault}.", code="bundle.path")
        place = self.folder / relative
        with writing(self.output):
            place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def add_bytes(self, relative: str, data: bytes) -> None:
        """Write a file.

        Raises:
            BundleError: As :meth:`path`.
            ResourceError: The disk is full or failing.
        """
        place = self.path(relative)
        with writing(self.output):
            place.write_bytes(data)

    def add_text(self, relative: str, text: str) -> None:
        """Write a UTF-8 text file; errors as :meth:`add_bytes`."""
        self.add_bytes(relative, text.encode("utf-8"))

    def add_json(self, relative: str, value: Mapping[str, Json]) -> None:
        """Write a JSON file; errors as :meth:`add_bytes`."""
        text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
        self.add_text(relative, f"{text}\n")

    def add_golden(self, golden: Golden) -> None:
        """Write ``golden.npz``; errors as :meth:`add_bytes`."""
        arrays: dict[str, Any] = {f"input/{name}": array for name, array in golden.inputs.items()}
        for exit_name, tensors in golden.outputs.items():
            for name, array in tensors.items():
                arrays[golden_key(exit_name, name)] = array
        if any(array.dtype.hasobject for array in arrays.values()):
            raise TypeError("golden arrays hold numbers, not Python objects")
        place = self.path(GOLDEN)
        with writing(self.output), place.open("wb") as file:
            np.savez(file, **arrays)

    def seal(self, manifest: Manifest) -> Bundle:
        """Hash every file, write the manifest with their entries, and swap the bundle in.

        Args:
            manifest: The manifest; what it holds as ``files`` is replaced.

        Returns:
            The bundle at ``output``.

        Raises:
            BundleError: A reader would refuse the manifest or a file.
            ResourceError: The disk is full or failing; ``output`` is as it was.
        """
        files = seal_files(self.folder)
        sealed = dataclasses.replace(manifest, files=files)
        data, digest = manifest_bytes(sealed)
        with writing(self.output):
            (self.folder / MANIFEST).write_bytes(data)
            _flush_all(self.folder, files)
            swap_in(self.folder, self.output)
        return Bundle(self.output, sealed, digest)


def _locked(output: Path, timeout: float) -> BaseFileLock:
    # Imported late: reading bundles needs no locks, and the import takes milliseconds.
    from filelock import FileLock, Timeout

    lock = FileLock(lock_path(output), timeout=timeout)
    try:
        lock.acquire()
    except Timeout:
        raise ResourceError(
            f"{output} is being written by another process for more than {timeout:g} s.",
            hint="wait for it to end, or write to another place with --output.",
            code="resource.locked",
        ) from None
    return lock


def _check_output(output: Path, overwrite: bool) -> None:
    if not os.path.lexists(output):
        return
    if is_bundle(output):
        if overwrite:
            return
        fault, hint = "already exists", "allow it to be overwritten, or choose another place"
    elif output.is_dir() and not _any_entry(output):
        return
    else:
        fault, hint = "exists and is no bundle; it is left alone", "choose another --output"
    raise BundleError(f"{output} {fault}.", hint=f"{hint}.", code="bundle.output-exists")


def _any_entry(folder: Path) -> bool:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return any(True for _ in entries)
    return True


def _flush_all(folder: Path, files: tuple[FileEntry, ...]) -> None:
    for entry in files:
        flush(folder / entry.path)
    flush(folder / MANIFEST)
    for parent, _, _ in os.walk(folder):
        flush(Path(parent))

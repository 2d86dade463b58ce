"""What a device adds to a bundle, kept in the user's cache: a bundle may be on a read-only disk."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexit.bundle.atomic import write_atomic, writing
from edgeexit.bundle.integrity import read_bounded
from edgeexit.bundle.jsonfile import Json, seal_json, unseal_json
from edgeexit.errors import BundleError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_MAX_ENTRY_BYTES = 16 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def cache_root() -> Path:
    """Return the cache folder: ``EDGEEXIT_CACHE``, ``XDG_CACHE_HOME/edgeexit`` or ``~/.cache``'s.

    An empty variable, and a relative ``XDG_CACHE_HOME`` (as its specification asks), count as
    unset.
    """
    if chosen := os.environ.get("EDGEEXIT_CACHE"):
        return Path(chosen).expanduser()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if shared.is_absolute():
        return shared / "edgeexit"
    return Path("~/.cache/edgeexit").expanduser()


class DeviceCache:
    """What one device adds to one bundle: profiles, and later built engines.

    Entries are trusted only where they were written for this bundle, this device and this name,
    and their digest holds; anything else counts as absent and is built again.

    Args:
        bundle_digest: Digest of the bundle's manifest.
        fingerprint: The device's fingerprint.

    Attributes:
        folder: Where the entries lie; made by the first write.
    """

    def __init__(self, bundle_digest: str, fingerprint: str) -> None:
        if not re.fullmatch("[0-9a-f]{64}", bundle_digest):
            raise ValueError(f"{bundle_digest!r} is no digest of a manifest")
        self._bundle = bundle_digest
        self._fingerprint = fingerprint
        device = hashlib.sha256(fingerprint.encode("utf-8")).hexdigest()
        self.folder = cache_root() / "bundles" / bundle_digest[:32] / device[:32]

    def lock(self, timeout: float = -1) -> BaseFileLock:
        """Return the lock to hold while building an entry: one process builds, others wait.

        Args:
            timeout: Seconds to wait before ``filelock.Timeout``; negative waits for ever.

        Raises:
            ResourceError: The cache cannot be written.
        """
        from filelock import FileLock

        with writing(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(self.folder / "lock", timeout=timeout)

    def read_json(self, name: str) -> Json:
        """Return the value of an entry, or None where there is none that can be trusted.

        Args:
            name: Lower-case letters, digits and hyphens.
        """
        path = self._path(name)
        if not path.exists():
            return None
        try:
            data = read_bounded(path, path.name, _MAX_ENTRY_BYTES)
            entry, _ = unseal_json(data, "entry", path.name, _MAX_ENTRY_BYTES)
        except BundleError:
            return None
        if not isinstance(entry, dict) or "value" not in entry:
            return None
        value = entry["value"]
        return value if entry == self._entry(name, value) else None

    def write_json(self, name: str, value: Json) -> None:
        """Write an entry atomically; :meth:`read_json` says what ``name`` may be.

        Raises:
            ResourceError: The cache is full or read-only; an old entry is untouched.
        """
        data, _ = seal_json("entry", self._entry(name, value))
        with writing(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self._path(name), data)

    def _entry(self, name: str, value: Json) -> dict[str, Json]:
        return {
            "bundle": self._bundle,
            "fingerprint": self._fingerprint,
            "name": name,
            "value": value,
        }

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a cache entry")
        return self.folder / f"{name}.json"

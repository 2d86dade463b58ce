"""What was measured of a bundle on a device, kept in the device's cache."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from edgeexit.bundle.cache import DeviceCache
from edgeexit.bundle.codec import decode, encode
from edgeexit.errors import BundleError, ResourceError
from edgeexit.runtime.power.conditions import Conditions, mode_changed


class Measured(Protocol):
    """A dataclass of what was measured."""

    @property
    def before(self) -> Conditions:
        """Load, clocks and temperatures at the start."""


M = TypeVar("M", bound=Measured)


@dataclass(frozen=True)
class Kept(Generic[M]):
    """The place of one kind of measurement in a device's cache.

    A cache that cannot be read or written costs a measurement, never the answer.

    Attributes:
        entry: Name of the cache's entry.
        kind: The dataclass that it holds.
        again: Said where the entry is of another power mode: what was measured, and is again.
    """

    entry: str
    kind: type[M]
    again: str

    def load(self, cache: DeviceCache) -> M | None:
        """Return what is kept, or None where there is nothing that can be read."""
        with contextlib.suppress(BundleError, ResourceError):
            kept = cache.read_json(self.entry)
            if kept is not None:
                return decode(self.kind, kept, self.entry)
        return None

    def load_current(self, cache: DeviceCache, root: Path = Path("/")) -> M | None:
        """Return what is kept; None, and a warning, where it is of another power mode than now.

        Args:
            cache: The device's cache.
            root: What stands in place of ``/`` where clocks are looked for.
        """
        kept = self.load(cache)
        if kept is None or mode_changed(self.again, kept.before.mode, root):
            return None
        return kept

    def store(self, cache: DeviceCache, measured: M) -> None:
        """Keep a measurement in place of an older one, where the cache can be written."""
        with contextlib.suppress(ResourceError):
            cache.write_json(self.entry, encode(measured))

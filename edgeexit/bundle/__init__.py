"""What lies on disk: the manifest, the sealed files, the exit family, the device cache."""

from __future__ import annotations

from edgeexit.bundle.bundle import Bundle, Golden
from edgeexit.bundle.cache import DeviceCache, cache_root
from edgeexit.bundle.exits import CostTable, ExitFamily, ExitSettings
from edgeexit.bundle.specs import Manifest
from edgeexit.bundle.writer import BundleWriter

__all__ = [
    "Bundle",
    "BundleWriter",
    "CostTable",
    "DeviceCache",
    "ExitFamily",
    "ExitSettings",
    "Golden",
    "Manifest",
    "cache_root",
]

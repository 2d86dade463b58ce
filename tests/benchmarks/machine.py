"""The machine that figures were taken on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from datetime import datetime, timezone

import psutil

from edgeexit.targets.processor import available_threads, read_processor

_PACKAGES = ("openvino", "onnxruntime", "nncf", "numpy", "torch")


@dataclass(frozen=True)
class MachineState:
    """The machine at the start of a subject.

    Attributes:
        processor: Its name.
        cores: Physical cores that the process may use.
        memory_gib: Main memory.
        features: Instruction sets that decide speed.
        system: Operating system and Python.
        versions: Versions of the engines and tools.
        load: Load average of the last minute.
        time: When, in UTC.
    """

    processor: str
    cores: int
    memory_gib: float
    features: tuple[str, ...]
    system: str
    versions: dict[str, str]
    load: float
    time: str


def describe_machine() -> MachineState:
    """Look at this machine now."""
    processor = read_processor()
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return MachineState(
        processor.name,
        available_threads(),
        round(psutil.virtual_memory().total / 2**30, 1),
        processor.features,
        f"{platform.system()} {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}",
        versions,
        round(os.getloadavg()[0], 2),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )

"""The processor of this machine: its name and the instruction sets that decide speed."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

CPUINFO = Path("/proc/cpuinfo")

FEATURES = {
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "asimd": "neon",
    "asimddp": "neon_dotprod",
    "bf16": "neon_bf16",
    "i8mm": "neon_i8mm",
    "sve": "sve",
}
"""The flags of Linux's ``/proc/cpuinfo`` that matter, and how a feature is called here."""

_NAME_KEYS = ("model name", "Model", "Hardware", "cpu model")


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        name: Its name, as the system tells it.
        features: Those of :data:`FEATURES` that it has; empty where the system does not tell.
    """

    name: str
    features: tuple[str, ...]

    @property
    def computes_bf16(self) -> bool:
        """Whether it multiplies bfloat16 matrices in hardware."""
        return not {"avx512_bf16", "amx_bf16"}.isdisjoint(self.features)


def read_processor(cpuinfo: Path = CPUINFO) -> Processor:
    """Return the processor that ``cpuinfo`` describes, or what Python knows of it elsewhere."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    names = (fields[key] for key in _NAME_KEYS if fields.get(key))
    name = next(names, platform.processor() or platform.machine() or "unknown processor")
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return Processor(name, tuple(label for flag, label in FEATURES.items() if flag in flags))


def available_threads() -> int:
    """Return the physical cores that this process may use: what the engines take by default."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, min(cores, allowed))

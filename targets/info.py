"""What is said of a machine and of how to compile for it: plain frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Dims = Mapping[str, int]
"""A value for each symbol of a stage's shapes, e.g. ``{"batch": 1}``."""


@dataclass(frozen=True)
class DeviceInfo:
    """What a target found on this machine.

    Attributes:
        engine: Engine and version, e.g. ``openvino 2026.4.1``.
        processor: Name of the processor that will run the stages.
        threads: Threads that the engine will use.
        features: Instruction sets or capabilities that decide speed, e.g. ``avx512_vnni``.
    """

    engine: str
    processor: str
    threads: int
    features: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """One line that tells two devices apart; measured latencies are valid on this one only."""
        return " | ".join((self.engine, self.processor, f"{self.threads} threads", *self.features))


@dataclass(frozen=True)
class Unavailable:
    """Why a target cannot run here, and the command that would change that."""

    reason: str
    hint: str


@dataclass(frozen=True)
class EngineOptions:
    """How to compile a stage.

    Attributes:
        precision: ``f32``, ``bf16``, ``fp16`` or ``int8``.
        threads: Threads an inference; 0 leaves the choice to the engine.
        dims: Symbols fixed at compile time (``{"batch": 1}`` for a static engine); the symbols
            left out stay dynamic.
        settings: Engine-specific settings from the device file.
        native: Names of ``float32`` tensors that may cross the stage's edge in the type in which
            the engine computes: the boundary tensors, but never a gate's state, logits, scores
            or features. Names that a stage lacks are ignored, so all stages share one set.
        int8_compute: Type of what stays float at precision ``int8``: ``f32``, ``bf16``, or
            ``auto`` for bf16 on processors that compute in it, else f32.
    """

    precision: str = "f32"
    threads: int = 0
    dims: Dims = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    native: frozenset[str] = frozenset()
    int8_compute: str = "auto"

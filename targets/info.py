"""What is said of a machine and of how to compile for it: plain frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeexit.bundle.cache import DeviceCache

Report = Callable[[str, float], None]
"""Told what is being done and the fraction of it that is done."""

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
        channels_last: Names of boundary tensors ``(B, C, H, W)`` that cross the stage's edge as
            ``(B, H, W, C)``; what :meth:`Target.channels_last` chose, for all stages alike.
        int8_compute: Type of what stays float at precision ``int8``: ``f32``, ``bf16``, ``fp16``
            (the graph itself says so then), or ``auto`` for bf16 on processors that compute in
            it, else f32.
        ranges: Smallest, typical and largest size of each symbol that may stay dynamic, for
            engines that are built for a range of sizes.
        cache: Where engines that are built on this device are kept; None keeps them nowhere.
    """

    precision: str = "f32"
    threads: int = 0
    dims: Dims = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    native: frozenset[str] = frozenset()
    channels_last: frozenset[str] = frozenset()
    int8_compute: str = "auto"
    ranges: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    cache: DeviceCache | None = field(default=None, compare=False)


@dataclass(frozen=True)
class BuiltLayer:
    """A layer of a built engine.

    Attributes:
        name: Name of the ONNX node it came from where that is known, else the engine's own.
        kind: ``gemm``, ``conv`` or ``other``.
        precision: What it computes in: ``int8``, ``fp16``, ``bf16``, ``f32`` or the engine's word.
    """

    name: str
    kind: str
    precision: str


@dataclass(frozen=True)
class Built:
    """What came of building one graph on this device.

    Attributes:
        built: False where the engine compiles when it opens a graph, so that nothing is built.
        cached: True where it had been built before.
        seconds: How long the build took, now or when it was made.
        size: Bytes of the built engine.
        layers: Its layers, where the builder tells.
    """

    built: bool = False
    cached: bool = False
    seconds: float = 0.0
    size: int = 0
    layers: tuple[BuiltLayer, ...] = ()

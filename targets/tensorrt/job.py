"""What is to be built: a plain frozen dataclass that travels to the builder's process as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexit.bundle.specs import TensorSpec

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Smallest, typical and largest shape of each input."""

GATHER = "gather"
"""In place of a model's path: the network that gathers rows; see :meth:`Api.gather_plan`."""

LARGEST_GATHER = (16, 64, 1 << 18)
"""Largest ``data (outer, all, words)`` of the gather network unless told: 1 GiB."""

MEMORY_HINT = (
    "stop other programs and the desktop (sudo init 3), add swap, or set workspace (bytes) in the "
    "[settings] of the device file, then build again."
)
"""What to do where a build runs out of memory."""


@dataclass(frozen=True)
class BuildJob:
    """One plan to be built.

    Attributes:
        model: Path of the ONNX file, or :data:`GATHER`.
        inputs: The tensors that the plan must read; empty to leave them unchecked.
        outputs: The tensors that it must write; the graph's other outputs are dropped. Empty to
            leave them as they are.
        profiles: One optimization profile each, with a shape range for every input. An input of
            one shape in all of them becomes static. Empty where the graph is static.
        optimization_level: 0 (fast build) to 5 (fast plan), or None for the engine's choice.
        workspace: Bytes that one layer may use as scratch, or None for all there are.
        timing_cache: Path of the measured kernel times shared by builds, or None. TensorRT-RTX
            measures nothing while it builds and ignores it.
        compute_capability: A GPU to build for that need not be here, e.g. ``sm86``; None for the
            GPU at hand. TensorRT-RTX alone can do that.
        tf32: Whether float32 products may be rounded to 10 bits of mantissa.
    """

    model: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    profiles: tuple[Profile, ...] = ()
    optimization_level: int | None = None
    workspace: int | None = None
    timing_cache: str | None = None
    compute_capability: str | None = None
    tf32: bool = False

    def to_json(self) -> str:
        """Return the job as one line of JSON; :meth:`from_json` undoes it exactly."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> BuildJob:
        """Return the job that :meth:`to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: It is no such text. Only our own process writes it.
        """
        table: dict[str, Any] = json.loads(text)
        for key in ("inputs", "outputs"):
            table[key] = tuple(
                TensorSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in table[key]
            )
        table["profiles"] = tuple(
            {name: _shapes(shapes) for name, shapes in profile.items()}
            for profile in table["profiles"]
        )
        return cls(**table)


def _shapes(shapes: list[list[int]]) -> tuple[Shape, Shape, Shape]:
    smallest, typical, largest = (tuple(shape) for shape in shapes)
    return smallest, typical, largest


def gather_job(
    largest: tuple[int, int, int] = LARGEST_GATHER, compute_capability: str | None = None
) -> BuildJob:
    """Return the job that builds the gather network; see :meth:`Api.gather_plan`."""
    _, rows, words = largest
    profile: Profile = {
        "data": ((1, 1, 1), (1, rows, words), largest),
        "rows": ((1,), (max(rows // 2, 1),), (rows,)),
    }
    return BuildJob(GATHER, profiles=(profile,), compute_capability=compute_capability)

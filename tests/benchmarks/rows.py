"""What a benchmark hands back: one row a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Value = float | int | str | bool | None | list[float] | list[str]


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: Identifier, unique among all: ``split-tax.vit.x86.int8.batch-1``.
        what: What was measured, in words.
        value: The figure as the table shows it.
        values: The same and all that belongs to it, by name.
        same: The same comparison of a thing with itself, as the table shows it.
        wanted: What is wanted, in words; None where the figure is only shown.
        met: Whether it is; None where nothing is wanted.
    """

    name: str
    what: str
    value: str
    values: Mapping[str, Value] = field(default_factory=dict)
    same: str = ""
    wanted: str | None = None
    met: bool | None = None


@dataclass(frozen=True)
class Effort:
    """How much work to put into a run.

    Attributes:
        quick: Whether to see that everything runs, rather than to measure.
        tell: Told what is being done.
    """

    quick: bool = False
    tell: Callable[[str], None] = lambda _: None

    def seconds(self, full: float) -> float:
        """Return how long to measure what takes ``full`` seconds in a full run."""
        return full / 25 if self.quick else full

    def least(self, full: int) -> int:
        """Return the rounds to make at least."""
        return min(full, 3) if self.quick else full

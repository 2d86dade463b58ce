"""What a family costs in batches, where costs do not add up sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BatchMode = Literal["single", "compacted", "whole"]
"""``single``: one sample a call. ``compacted``: a batch that samples leave, as the runtime runs it.
``whole``: a batch whose samples all wait for the last of them."""


@dataclass(frozen=True)
class BatchCosts:
    """Mean cost of a sample at each row of a family's knob, in batches of one size.

    Attributes:
        mode: How a batch runs.
        size: Samples of a batch.
        per_row: ``(M,)`` mean cost of a sample at each row, in the unit of the table that holds
            them, non-decreasing; empty until a family is fitted.
    """

    mode: Literal["compacted", "whole"]
    size: int
    per_row: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.mode} batches of {self.size}"

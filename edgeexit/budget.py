"""A budget: the average cost that a model may spend on an input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgeexit.errors import BudgetError

CostKind = Literal["flops", "latency"]
"""What a cost counts. ``flops``: fractions of the static model. ``latency``: milliseconds."""

_UNITS: dict[str, CostKind] = {"": "flops", "ms": "latency"}
_TEXT = re.compile(r"\s*(?P<number>[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(?P<unit>[A-Za-z%]*)\s*")


@dataclass(frozen=True)
class Budget:
    """An average cost: ``0.5`` of the static model's FLOPs, or ``8 ms`` of latency.

    Attributes:
        value: A fraction of the static model (``flops``) or milliseconds (``latency``).
        kind: What it counts.
    """

    value: float
    kind: CostKind = "flops"

    @classmethod
    def parse(cls, budget: Budget | float | str) -> Budget:
        """Return a budget from ``0.5``, ``"0.5"``, ``"8ms"`` or a budget.

        Raises:
            BudgetError: The text is no positive number followed by a known unit.
        """
        if isinstance(budget, Budget):
            return budget
        match = _TEXT.fullmatch(str(budget))
        if match is None or match["unit"] not in _UNITS or float(match["number"]) <= 0:
            raise BudgetError(
                f"{budget!r} is not a budget: a positive number, alone (a fraction of the static "
                "model's FLOPs) or followed by ms (mean latency), is one.",
                hint="write for example 0.5 or 8ms.",
                code="budget.syntax",
            )
        return cls(float(match["number"]), _UNITS[match["unit"]])

    def __str__(self) -> str:
        return f"{self.value:g} ms" if self.kind == "latency" else f"{self.value:g}"

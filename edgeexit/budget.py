"""A budget: the average cost that a model may spend on an input."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from edgeexit.errors import BudgetError

CostKind = Literal["flops", "latency", "energy"]
"""What a cost counts. ``flops``: fractions of the static model. ``latency``: milliseconds.
``energy``: millijoules beyond what the idle device draws."""

_UNITS: dict[str, tuple[CostKind, float]] = {
    "": ("flops", 1.0),
    "ms": ("latency", 1.0),
    "mJ": ("energy", 1.0),
    "J": ("energy", 1000.0),
}
"""The kind that a unit names, and how many of that kind's units it is."""

_SUFFIXES: dict[CostKind, str] = {"flops": "", "latency": "ms", "energy": "mJ"}
_TEXT = re.compile(r"\s*(?P<number>[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(?P<unit>[A-Za-z%]*)\s*")


@dataclass(frozen=True)
class Budget:
    """An average cost: ``0.5`` of the static model's FLOPs, ``8 ms`` of latency, or ``40 mJ``.

    Attributes:
        value: A fraction of the static model (``flops``), milliseconds (``latency``) or
            millijoules (``energy``).
        kind: What it counts.
    """

    value: float
    kind: CostKind = "flops"

    @classmethod
    def parse(cls, budget: Budget | float | str) -> Budget:
        """Return a budget from ``0.5``, ``"0.5"``, ``"8ms"``, ``"40mJ"``, ``"0.04J"`` or a budget.

        Raises:
            BudgetError: The text is no positive, finite number followed by a known unit.
        """
        if isinstance(budget, Budget):
            return budget
        match = _TEXT.fullmatch(str(budget))
        if match is not None and match["unit"] in _UNITS:
            kind, factor = _UNITS[match["unit"]]
            value = factor * float(match["number"])
            if 0 < value < math.inf:
                return cls(value, kind)
        raise BudgetError(
            f"{budget!r} is not a budget: a positive number, alone (a fraction of the static "
            "model's FLOPs) or followed by ms (mean latency), mJ or J (mean energy), is one.",
            hint="write for example 0.5, 8ms or 40mJ.",
            code="budget.syntax",
        )

    @property
    def typed(self) -> str:
        """The budget as it is typed: ``0.5``, ``8ms`` or ``40mJ``."""
        return f"{self.value:g}{_SUFFIXES[self.kind]}"

    def __str__(self) -> str:
        return f"{self.value:g} {_SUFFIXES[self.kind]}".rstrip()

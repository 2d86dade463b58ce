"""What a governor holds: an average cost, joules an input, or a battery that lasts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeexit.budget import Budget
from edgeexit.errors import BudgetError

_SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True)
class Joules:
    """An average of so many joules an input, of what the governor's meter counts.

    Attributes:
        per_input: Joules. A meter of a whole board counts the idle time between inputs too.

    Raises:
        BudgetError: It is not positive.
    """

    per_input: float

    def __post_init__(self) -> None:
        """Check the number; see the class."""
        _require_positive(self.per_input, "joules an input")

    def __str__(self) -> str:
        return f"{self.per_input:g} J an input"


@dataclass(frozen=True)
class Reserve:
    """Energy that must last: so many joules for so many hours, from the moment it is set.

    Attributes:
        joules: What there is, of what the governor's meter counts.
        hours: How long it must last.

    Raises:
        BudgetError: One is not positive.
    """

    joules: float
    hours: float

    def __post_init__(self) -> None:
        """Check the numbers; see the class."""
        _require_positive(self.joules, "joules")
        _require_positive(self.hours, "hours")

    @property
    def seconds(self) -> float:
        """How long it must last, in seconds."""
        return self.hours * _SECONDS_AN_HOUR

    def __str__(self) -> str:
        return f"{self.joules:g} J for {self.hours:g} h"


Goal = Budget | Joules | Reserve


def parse_goal(goal: Goal | float | str) -> Goal:
    """Return a goal from what ``Budget.parse`` takes, or from a goal.

    Raises:
        BudgetError: It is none.
    """
    return goal if isinstance(goal, Joules | Reserve) else Budget.parse(goal)


def _require_positive(value: float, unit: str) -> None:
    if not 0 < value < math.inf:
        raise BudgetError(
            f"{value:g} {unit} cannot be held: a positive number is right.",
            hint="correct the number.",
            code="governor.goal",
        )

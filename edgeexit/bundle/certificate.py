"""What an exit family is certified to keep, and at which settings of its knob."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeexit.budget import Budget
from edgeexit.errors import BudgetError

Unit = Literal["sample", "group"]
"""What was drawn independently: every sample, or every group (clip, patient, site) of samples."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class CertifiedBudget:
    """A budget, and the setting whose mean cost is certified not to exceed it.

    Attributes:
        budget: The budget.
        position: Position of the knob in [0, M - 1], as :meth:`ExitFamily.position` gives it.
    """

    budget: Budget
    position: float


@dataclass(frozen=True)
class Certificate:
    """Statements that hold together with the stated confidence over the draw of the data.

    For data like the calibration set: at each certified position the mean cost of a unit is at
    most the budget, and from ``drop_position`` on the mean quality of a unit is at most
    ``max_drop`` below that of the last exit. A group counts as one unit however many samples it
    has: its cost and quality are the means over its samples.

    Attributes:
        confidence: Probability with which all statements hold, in (0, 1).
        unit: The independent unit.
        units: Units that the knob was set on; the shape was fitted on others.
        unlabelled: Samples without labels among them.
        budgets: The certified budgets, all of one kind, ascending. In the first everything
            leaves at exit 1, in the last at exit K: their costs need no test.
        max_drop: Percentage points of quality; None where no drop was certified.
        drop_position: The cheapest position from which on the drop is certified.
    """

    confidence: float
    unit: Unit
    units: int
    unlabelled: int
    budgets: tuple[CertifiedBudget, ...]
    max_drop: float | None
    drop_position: float | None

    def at(self, budget: Budget, stated: Callable[[Budget], str] = str) -> CertifiedBudget:
        """Return the largest certified budget that is not above ``budget``.

        Args:
            budget: The budget.
            stated: Puts a budget into words, as :meth:`ExitFamily.stated` does, for the message.

        Raises:
            BudgetError: There is none, or the certified ones are of another kind.
        """
        first = self.budgets[0].budget
        below = [
            entry
            for entry in self.budgets
            if entry.budget.kind == budget.kind
            and entry.budget.value <= budget.value * (1 + _ROUNDING)
        ]
        if not below:
            known = ", ".join(stated(entry.budget) for entry in self.budgets)
            raise BudgetError(
                f"budget {stated(budget)} is not among the certified ones of kind {first.kind}: "
                f"{known}.",
                hint="choose one of them, or calibrate again for this one.",
                code="budget.uncertified",
            )
        return below[-1]

    def keeps_drop(self, position: float) -> bool:
        """Return whether the largest drop is certified at a position of the knob."""
        return self.drop_position is not None and position >= self.drop_position

"""The budget dial: gate parameters and thresholds, one immutable object a setting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget
from edgeexit.bundle.exits import ExitFamily
from edgeexit.bundle.specs import GateSpec
from edgeexit.errors import BudgetError

NEVER = float("nan")
"""A threshold that no score reaches, not even infinity: comparisons with NaN are false."""


@dataclass(frozen=True, eq=False)
class Dial:
    """One setting. A call takes the object once and so never mixes two settings.

    Attributes:
        budget: The budget it serves; None where every sample goes to the last exit.
        params: One ``(P,) float32`` array a gate.
        limits: K - 1 thresholds.
        certified: The certified budget it snapped down to; None where exits are not certified.
            It holds as long as nothing but this dial moves the thresholds.
    """

    budget: Budget | None
    params: tuple[npt.NDArray[np.float32], ...]
    limits: tuple[float, ...]
    certified: Budget | None = None

    @classmethod
    def make(
        cls,
        gates: tuple[GateSpec, ...],
        family: ExitFamily | None,
        budget: Budget | None,
        fingerprint: str,
    ) -> Dial:
        """Return the setting that serves ``budget``.

        Args:
            gates: The K - 1 gates of the bundle.
            family: The calibrated exits, or None.
            budget: The budget, or None to send every sample to the last exit.
            fingerprint: This device, for budgets in milliseconds and millijoules.

        Raises:
            BudgetError: There is no family, or the budget is out of bounds, of a kind that was
                not calibrated or not certified, or in the milliseconds or millijoules of another
                device.
        """
        if budget is None:
            defaults = tuple(np.asarray(gate.default_params, np.float32) for gate in gates)
            return cls(None, defaults, (NEVER,) * len(gates))
        if family is None:
            raise BudgetError(
                f"a budget of {budget} needs calibrated exits, and this bundle has no exits.json.",
                hint=f"run: edgeexit calibrate BUNDLE --data DATA --budget {budget.typed}",
                code="budget.uncalibrated",
            )
        check_device(family, budget, fingerprint)
        settings = family.settings(budget)
        limits = tuple(float(t) for t in settings.thresholds)
        certified = family.certified(budget)
        snapped = None if certified is None else certified.budget
        return cls(budget, settings.params, limits, snapped)


def warn_of_mode(family: ExitFamily | None, fingerprint: str) -> None:
    """Warn where costs of this device were measured in another power mode than it is in.

    Args:
        family: The calibrated exits, or None.
        fingerprint: This device.
    """
    tables = () if family is None else family.costs.values()
    for table in tables:
        if table.mode and table.fingerprint == fingerprint:
            # Imported late: it loads psutil, which exits calibrated in FLOPs have no use for.
            from edgeexit.runtime.power.conditions import mode_changed

            mode_changed(f"the {table.kind} of these exits may not hold here", table.mode)


def check_device(family: ExitFamily, budget: Budget, fingerprint: str) -> None:
    """Refuse a budget in what was measured on another device.

    Args:
        family: The calibrated exits.
        budget: The budget.
        fingerprint: This device.

    Raises:
        BudgetError: Its costs were measured on another device.
    """
    table = family.costs.get(budget.kind)
    if budget.kind != "flops" and table is not None and table.fingerprint != fingerprint:
        how = "estimated" if table.estimated else "measured"
        raise BudgetError(
            f"a budget of {budget} was asked for on '{fingerprint}', but {budget.kind} was {how} "
            f"on '{table.fingerprint}'.",
            hint="calibrate on this device, or give the budget as a fraction of FLOPs.",
            code="budget.device",
        )

"""The governor's law: an integral controller in cost units whose look-up alone saturates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeexit.budget import CostKind
from edgeexit.bundle.exits import ExitFamily, mixed_thresholds
from edgeexit.runtime.dial import NEVER
from edgeexit.runtime.setting import Setting, mixed_shares

LARGEST_STEP = 0.25
"""Largest step of a batch, as a multiple of what it was off: 1 and more would swing."""

FADING = 0.99
"""What the size of a large batch counts for, call by call, after it."""

SCALE_MEMORY = 0.05
"""Weight of one input in the running ratio of measured to tabled costs: it forgets in about 20."""

LARGEST_SHARE = 0.5
"""Weight of a long batch or window in it at most."""

SURGE = 4.0
"""How many times the expected cost one input may count in that ratio: a hiccup is no slowdown."""

FORGIVEN = 1000.0
"""Inputs' worth of budget that measured costs may run into debt (or save) before the rest is
forgotten: after an hour that could not be held, the next must not be spent at the first exit."""


STEPS = 512
"""Settings between exit 1 and exit K: each moves the mean cost by a five hundredth of the range."""


class Law:
    """``u <- u + eta (B - c_t)``; the dial stands where the family's mean cost is u.

    With costs c_t in [c_1, c_K] and a dial that forces exit 1 at ``u <= c_1`` and exit K at
    ``u >= c_K``, any sequence of inputs keeps ``|mean(c) - B| <= (c_K - c_1)(1 + eta) / (eta T)``
    after T inputs, since u never leaves ``[c_1 - eta (c_K - B), c_K + eta (B - c_1)]`` and the
    sum of what c_t was off is what u has moved by, over eta (the argument of adaptive conformal
    inference: Gibbs and Candes, NeurIPS 2021, for costs). Where n inputs are answered at one
    setting, the step is n times eta, and eta at most :data:`LARGEST_STEP` over n: every input
    counts the same, and the bound is that of this eta.

    Measured costs come in milliseconds or joules while the table is in its own unit. A running
    ratio of the two, the scale, converts them, so a device that slows down threefold moves u at
    once and not only as the error sums up. For counted costs it is 1 and never moves.

    Args:
        budget: B, in the unit of what is measured.
        eta: The step.
        scale: Measured units a table unit.
        measured: Whether the scale follows what is measured.
    """

    __slots__ = ("_measured", "_spent", "_tabled", "_width", "budget", "eta", "offset", "scale")

    def __init__(self, budget: float, eta: float, scale: float, *, measured: bool) -> None:
        self.budget = budget
        self.eta = eta
        self.scale = scale
        self.offset = 0.0
        self._measured = measured
        self._spent = self._tabled = 0.0
        self._width = 1.0

    @property
    def aim(self) -> float:
        """u, in table units: the mean cost that the dial should stand at."""
        return self.budget / self.scale + self.offset

    def learn(self, spent: float, tabled: float, count: int, pending: int = 0) -> None:
        """Take one step.

        Args:
            spent: Mean cost of the inputs, measured (or counted, and then equal to ``tabled``).
            tabled: Mean of the table's costs of the exits they took.
            count: Inputs.
            pending: Inputs begun and not answered yet, whose costs come late.
        """
        if self._measured:
            self._rescale(spent, tabled, count)
        self._width = max(count, pending, FADING * self._width)
        step = count * min(self.eta, LARGEST_STEP / self._width)
        self.offset += step * (self.budget - spent) / self.scale
        if self._measured:
            most = FORGIVEN * self.eta * self.budget / self.scale
            self.offset = min(max(self.offset, -most), most)

    def follow(self, before: Law) -> None:
        """Take over the offset and the scale of a law in the same units."""
        self.offset, self.scale = before.offset, before.scale
        self._spent, self._tabled = before._spent, before._tabled

    def _rescale(self, spent: float, tabled: float, count: int) -> None:
        if spent <= 0:
            # A clock or meter too coarse for this call says nothing of the device's speed.
            return
        if self._tabled == 0:
            self._spent, self._tabled = spent, tabled
        else:
            weight = min(SCALE_MEMORY * count, LARGEST_SHARE)
            seen = min(spent, SURGE * self.scale * tabled)
            self._spent += weight * (seen - self._spent)
            self._tabled += weight * (tabled - self._tabled)
        self.scale = self._spent / self._tabled


class Lookup:
    """Settings by the mean cost that the family gives them.

    Args:
        family: The calibrated exits.
        kind: Which of its cost tables.

    Raises:
        BudgetError: It has no such table.

    Attributes:
        low: Cost of exit 1, at and below which every sample leaves there.
        high: Cost of exit K, at and above which every sample goes there.
        per_exit: ``(K,)`` the table.
    """

    def __init__(self, family: ExitFamily, kind: CostKind) -> None:
        self._family = family
        self._curve = family.curve(kind)
        self._batch = family.costs[kind].batch
        self.per_exit: npt.NDArray[np.float64] = np.asarray(family.costs[kind].per_exit)
        self._added_up = family.shares @ self.per_exit
        self.low, self.high = float(self.per_exit[0]), float(self.per_exit[-1])
        self._params = tuple(np.asarray(vector, np.float32) for vector in family.params)
        gates = len(self._params)
        # Not even the family's first row lets everything go on data it has not seen.
        self._cheapest = Setting(None, self._params, (float("-inf"),) * gates)
        self._dearest = Setting(None, self._params, (NEVER,) * gates)
        self._made: dict[int, Setting] = {}

    def tabled(self, exits: npt.NDArray[np.int32]) -> float:
        """Return the mean cost of a call's samples by the table.

        A batch that waits costs what it costs where all leave at its last exit. One that shrinks is
        taken to cost what the rows of the knob do at which exits cost as much when added up.

        Args:
            exits: ``(n,)`` exits taken, from 1.
        """
        if self._batch is not None and self._batch.mode == "whole":
            return float(self.per_exit[exits.max() - 1])
        mean = float(self.per_exit[exits - 1].mean())
        return mean if self._batch is None else float(np.interp(mean, self._added_up, self._curve))

    def at(self, aim: float) -> Setting:
        """Return the setting whose mean cost on the calibration set is ``aim``.

        Between the ends it is rounded to one of :data:`STEPS` settings, each made once; the law
        evens out what that is off.
        """
        if aim <= self.low:
            return self._cheapest
        if aim >= self.high:
            return self._dearest
        step = int((aim - self.low) / (self.high - self.low) * STEPS)
        setting = self._made.get(step)
        if setting is None:
            middle = self.low + (step + 0.5) / STEPS * (self.high - self.low)
            setting = self._made[step] = self._make(middle)
        return setting

    def _make(self, aim: float) -> Setting:
        position = self._position(aim)
        thresholds = mixed_thresholds(self._family.thresholds, position)
        shares = mixed_shares(self._family.shares, position)
        limits = tuple(float(limit) for limit in thresholds)
        return Setting(None, self._params, limits, shares=shares)

    def _position(self, aim: float) -> float:
        curve = self._curve
        row = int(np.searchsorted(curve, aim, side="right")) - 1
        if row < 0:
            return 0.0
        if self._family.discrete or row == len(curve) - 1:
            return float(row)
        return row + (aim - float(curve[row])) / float(curve[row + 1] - curve[row])

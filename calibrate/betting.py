"""Bets against "the mean is above the limit": a bound that holds at every sample size.

Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024): while
the mean of values x_1, x_2, ... is above a limit B, the wealth ``prod_i (1 - lambda_i (x_i - B))``
of a gambler who chooses each ``lambda_i >= 0`` before he sees ``x_i`` does not grow on average, so
by Ville's inequality it ever reaches 1/alpha with probability alpha at most. Any bets are valid;
how much data they need is their art.

These bets replicate a test of the exact level. With n values to come in all, the gambler wants
wealth 1/alpha at the end, no more: his wealth, times alpha, should be the probability with which
the test will reject, and for a sum of nearly normal steps the stake that keeps it so is

    lambda = phi(z) / (p sigma sqrt(n - i)),    p = alpha * wealth / 1.01,  z = Phi^-1(p)

with ``sigma^2`` the running mean of ``(x - B)^2``: the hedge of a digital option, or the stake of
the most powerful test. Where the predictable plug-in of the paper, whose stake is
``sqrt(2 ln(1/alpha) / (n sigma^2))``, asks for a mean some ``2.2 sigma / sqrt(n)`` below the limit,
these ask for hardly more than the ``1.65 sigma / sqrt(n)`` of the normal approximation, and unlike
it they are exact for every distribution. Worked out and measured for edgeexit.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MAX_STAKE = 0.9
"""Share of his wealth that a gambler may lose in one step."""

AIM = 1.01
"""Wealth aimed at, in units of the wealth that proves: the hedge itself never quite arrives."""

LOWEST = -60.0
"""Logarithm of the smallest probability of rejection that is told apart."""

_POINTS = 1025


class Bets:
    """Many gamblers, one a column, who all bet that their column's mean is at most the limit.

    Args:
        columns: Number of columns M.
        limit: The limit B.
        bounds: Least and largest value that can occur.
        units: Number of independent rows to come, at most; only the stakes depend on it.
        alpha: Probability with which a column whose mean is above B may be passed, in (0, 1).
    """

    def __init__(
        self, columns: int, limit: float, bounds: tuple[float, float], units: int, alpha: float
    ) -> None:
        low, high = bounds
        self._limit, self._room = limit, high - limit
        self._units, self._alpha = units, alpha
        self._log_wealth = np.full(columns, -np.log(alpha) if self._room <= 0 else 0.0)
        # One pseudo-observation of the largest variance there can be.
        self._squares = np.full(columns, (high - low) ** 2 / 4)
        self._seen = 0

    @property
    def proven(self) -> npt.NDArray[np.bool_]:
        """Which columns ``(M,)`` are proven to have a mean of at most the limit."""
        proven: npt.NDArray[np.bool_] = self._log_wealth >= -np.log(self._alpha)
        return proven

    def take(self, values: Array) -> None:
        """Bet on independent rows ``(b, M)``, all with the stakes that the rows before suggest."""
        stakes = np.where(self.proven, 0.0, self._stakes())
        excess = values - self._limit
        self._log_wealth += np.log1p(-stakes * excess).sum(axis=0)
        self._squares += (excess**2).sum(axis=0)
        self._seen += len(values)

    def _stakes(self) -> Array:
        """Return the stakes ``(M,)``, in 1 / cost."""
        if self._room <= 0:
            return np.zeros_like(self._log_wealth)
        spread = np.sqrt(self._squares / (1 + self._seen))
        remaining = np.sqrt(max(self._units - self._seen, 1))
        grid, hedge = _hedges()
        wanted = np.interp(np.log(self._alpha / AIM) + self._log_wealth, grid, hedge)
        stakes: Array = wanted / (spread * remaining)
        return np.minimum(stakes, MAX_STAKE / self._room)


@lru_cache(maxsize=1)
def _hedges() -> tuple[Array, Array]:
    """Return ``ln p`` and ``phi(Phi^-1(p)) / p`` on a grid."""
    normal = NormalDist()
    logs = np.linspace(LOWEST, -1e-6, _POINTS)
    hedge = [normal.pdf(normal.inv_cdf(p)) / p for p in np.exp(logs).tolist()]
    return logs, np.asarray(hedge)

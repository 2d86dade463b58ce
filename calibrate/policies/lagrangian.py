"""Thresholds on confidence that serve a price of cost best, for all prices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeexit.calibrate.nesting import leave, nest, path_rows
from edgeexit.calibrate.policies.base import Array
from edgeexit.calibrate.records import Floats

PASSES = 4
"""Sweeps over the gates; more changed nothing where it was tried."""

SOLUTIONS = 40
"""Prices solved for."""

PRICES = (1e-4, 1e4)
"""Lowest and highest price, in quality a c_K of cost."""


class Search:
    """Lagrangian search over K - 1 thresholds.

    Args:
        scores: ``(n, K - 1)``.
        reward: ``(n, K)`` worth of each exit.
        costs: ``(K,)`` in units of c_K.
    """

    def __init__(self, scores: Floats, reward: Array, costs: Array) -> None:
        self._scores, self._reward, self._costs = scores, reward, costs
        self._orders = np.argsort(-scores, axis=0, kind="stable")

    def solve(self, price: float) -> tuple[Array, Array, float]:
        """Return held-back fractions and reach ``(K - 1,)`` of the gates, and the mean cost."""
        samples, gates = self._scores.shape
        value = self._reward - price * self._costs
        thresholds = np.full(gates, np.inf, dtype=np.float32)
        for _ in range(PASSES):
            before = thresholds.copy()
            worth = value[:, -1].copy()
            for gate in reversed(range(gates)):
                alive = np.count_nonzero(self._scores[:, :gate] >= thresholds[:gate], axis=1) == 0
                thresholds[gate] = self._best(gate, alive, value[:, gate] - worth)
                gone = self._scores[:, gate] >= thresholds[gate]
                worth = np.where(gone, value[:, gate], worth)
            if np.array_equal(before, thresholds):
                break
        exits = leave(self._scores, thresholds)
        held = np.count_nonzero(self._scores < thresholds, axis=0) / samples
        reach = np.array([np.count_nonzero(exits >= gate) for gate in range(gates)]) / samples
        return held, reach, float(self._costs[exits].mean())

    def _best(self, gate: int, alive: npt.NDArray[np.bool_], advantage: Array) -> np.float32:
        """Return the threshold whose leavers, among those alive, gain most by leaving."""
        order = self._orders[:, gate]
        order = order[alive[order]]
        scores = self._scores[order, gate]
        if not len(order):
            return np.float32(np.inf)
        total = np.cumsum(advantage[order])
        last_of_tie = np.append(scores[1:] < scores[:-1], True)
        total = np.where(last_of_tie, total, -np.inf)
        best = int(np.argmax(total))
        return scores[best] if total[best] > 0 else np.float32(np.inf)


def priced_thresholds(scores: Floats, reward: Array, costs: Array) -> Array:
    """Return the nested family ``(M, K - 1)`` of the best thresholds, from cheap to dear.

    For each price lambda, gates are swept from the last to the first: among the samples that
    reach gate k, in order of confidence, the threshold is where the summed advantage of leaving,
    ``y_k - lambda c_k - V``, peaks, with V the value of going on under the later thresholds. The
    prices are chosen where the mean cost still jumps. Thresholds are made nested by isotonic
    regression of the held-back fraction along the price, weighted by how many samples reach the
    gate. Worked out and measured for edgeexit.

    Args:
        scores: ``(n, K - 1)`` confidence.
        reward: ``(n, K)`` worth of each exit.
        costs: ``(K,)``, rising.
    """
    search = Search(scores, reward, costs / costs[-1])
    solved = {price: search.solve(price) for price in PRICES}
    while len(solved) < SOLUTIONS:
        prices = sorted(solved)
        cost = np.array([solved[price][2] for price in prices])
        widest = int(np.argmax(-np.diff(cost) * (np.diff(np.log(prices)) > 1e-3)))
        middle = float(np.sqrt(prices[widest] * prices[widest + 1]))
        if middle in solved:
            break
        solved[middle] = search.solve(middle)
    dear_last = [solved[price] for price in sorted(solved, reverse=True)]
    held = np.stack([solution[0] for solution in dear_last])
    reach = np.stack([solution[1] for solution in dear_last])
    ends = np.zeros((1, held.shape[1]))
    return path_rows(np.concatenate([ends, nest(held, reach), 1 - ends]), scores, costs)

"""Families from a path of exit fractions, by the sequential quantile rule."""

from __future__ import annotations

import numpy as np

from edgeexit.calibrate.nesting import Integers, nest, path_rows
from edgeexit.calibrate.policies.base import Array
from edgeexit.calibrate.records import Floats


def quantile_rule(scores: Floats, fractions: Array) -> tuple[Array, Array]:
    """Return held-back fractions and shares that leave ``(K - 1,)``.

    Among the samples still alive at gate k, those with the ``floor(n eps_k)`` highest scores
    leave; the sequential rule of MSDNet and DMPO.

    Args:
        scores: ``(n, K - 1)``.
        fractions: ``(K,)`` exit fractions, sum 1.

    Returns:
        Which fraction of all of a gate's scores lies below its threshold, and which share of the
        samples leaves there.
    """
    samples, gates = scores.shape
    exits = leave_by_fractions(scores, fractions)
    left = np.bincount(exits, minlength=gates + 1)[:gates] / samples
    held = np.zeros(gates)
    for gate in range(gates):
        gone = scores[exits == gate, gate]
        limit = gone.min() if len(gone) else np.inf
        held[gate] = np.count_nonzero(scores[:, gate] < limit) / samples
    return held, left


def leave_by_fractions(scores: Floats, fractions: Array) -> Integers:
    """Return the exit ``(n,)``, from 0, at which each sample leaves by the quantile rule.

    Args:
        scores: ``(n, K - 1)``.
        fractions: ``(K,)`` exit fractions, sum 1.
    """
    samples, gates = scores.shape
    exits = np.full(samples, gates, dtype=np.int64)
    alive = np.arange(samples)
    for gate in range(gates):
        leaving = min(int(samples * fractions[gate]), len(alive))
        order = np.argpartition(-scores[alive, gate], max(leaving, 1) - 1)
        first = order[:leaving]
        exits[alive[first]] = gate
        alive = np.delete(alive, first)
    return exits


def fraction_thresholds(scores: Floats, fractions: Array, costs: Array) -> Array:
    """Return the nested family ``(M, K - 1)`` of a path of exit fractions.

    Isotonic regression along the path, weighted by the samples that leave, makes the thresholds
    nested.

    Args:
        scores: ``(n, K - 1)``.
        fractions: ``(P, K)``, from cheap to dear, each row of sum 1.
        costs: ``(K,)``, rising.
    """
    rules = [quantile_rule(scores, row) for row in fractions]
    held, left = (np.stack(parts) for parts in zip(*rules, strict=True))
    ends = np.zeros((1, held.shape[1]))
    return path_rows(np.concatenate([ends, nest(held, left), 1 - ends]), scores, costs)

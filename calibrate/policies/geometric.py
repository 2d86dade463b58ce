"""``geometric``: exit fractions in geometric progression, as MSDNet has them."""

from __future__ import annotations

import numpy as np

from edgeexit.calibrate.nesting import nest, path_rows
from edgeexit.calibrate.policies.base import Array, Policy, Shape
from edgeexit.calibrate.policies.confidence import confidence
from edgeexit.calibrate.records import ExitRecords, Floats

RATIOS = np.geomspace(1e-3, 1e3, 97)
"""Values of q, from nearly all at exit 1 to nearly all at exit K."""


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
    alive = np.arange(samples)
    held, left = np.zeros(gates), np.zeros(gates)
    for gate in range(gates):
        leaving = min(int(samples * fractions[gate]), len(alive))
        order = np.argsort(-scores[alive, gate], kind="stable")
        gone, kept = alive[order[:leaving]], alive[order[leaving:]]
        limit = scores[gone[-1], gate] if leaving else np.inf
        held[gate] = np.count_nonzero(scores[:, gate] < limit) / samples
        left[gate] = leaving / samples
        alive = kept
    return held, left


class Geometric(Policy):
    """Exit fractions ``eps_k`` proportional to ``q^k``; the knob is q.

    Huang et al., "Multi-Scale Dense Networks for Resource Efficient Image Classification" (2018),
    section 3 and its public code. Isotonic regression along q, weighted by the
    samples that leave, makes the thresholds nested.
    """

    name = "geometric"
    gates = ("statistics", "confidence")
    needs = ("log_odds",)

    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        params, scores = confidence(records)
        exits = np.arange(len(costs))
        weights = [ratio ** (exits - exits.mean()) for ratio in RATIOS]
        rules = [quantile_rule(scores, weight / weight.sum()) for weight in weights]
        held, left = (np.stack(parts) for parts in zip(*rules, strict=True))
        ends = np.zeros((1, held.shape[1]))
        path = np.concatenate([ends, nest(held, left), 1 - ends])
        return Shape(params, path_rows(path, scores, costs))

"""Families of thresholds with one nested knob, and what each of their rows does.

The rows of a ``(M, K - 1)`` table rise, column by column, so a sample never leaves earlier at a
later row. Gate k lets sample i go in the first ``r_ik`` rows, those whose threshold is at most its
score; the sample therefore leaves at exit k in the rows from ``max_{j<k} r_ij`` up to
``max_{j<=k} r_ij``. One histogram an exit of these row numbers gives the whole curve.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeexit.calibrate.records import ExitRecords, Floats

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ROWS = 257
"""Rows of a family: mean cost in steps of 1/256 of its range."""

FAR = 1e30
"""A threshold beyond any score; finite, so that JSON and interpolation can hold it."""

CHUNK = 65_536
"""Samples weighed at once, to bound memory."""

PATH_POINTS = 4096
"""Points, evenly far apart, into which a path is divided before rows are chosen from it."""


def gate_scores(records: ExitRecords, params: tuple[tuple[float, ...], ...]) -> Floats:
    """Return the scores ``(n, K - 1) float32`` of all gates, computed as a gate computes them.

    A gate multiplies and sums in float32; the order of its sum is the engine's own, so scores
    agree to a few units in the last place.

    Args:
        records: The exit records.
        params: One parameter vector a gate; its last F values weigh the features.
    """
    width = len(records.gate.features)
    weights = np.asarray([vector[len(vector) - width :] for vector in params], dtype=np.float32)
    scores = np.empty(records.features.shape[:2], dtype=np.float32)
    for start in range(0, len(records), CHUNK):
        part = slice(start, start + CHUNK)
        np.sum(records.features[part] * weights, axis=2, dtype=np.float32, out=scores[part])
    return scores


def simulate(
    records: ExitRecords, params: tuple[tuple[float, ...], ...], thresholds: npt.ArrayLike
) -> Integers:
    """Return the exit ``(n,) int64``, counted from 1, at which each sample leaves.

    Args:
        records: The exit records.
        params: One parameter vector a gate.
        thresholds: ``(K - 1,)``; exit where ``score >= threshold``.
    """
    return leave(gate_scores(records, params), np.asarray(thresholds, dtype=np.float32)) + 1


def leave(scores: Floats, thresholds: Floats) -> Integers:
    """Return the index ``(n,)``, from 0, of the first gate that lets each sample go, else K - 1."""
    gone = scores >= thresholds
    exits: Integers = np.where(gone.any(axis=1), gone.argmax(axis=1), scores.shape[1])
    return exits


def measure(scores: Floats, thresholds: Array, quality: Floats) -> tuple[Array, Array]:
    """Return what every row of a nested family does to these samples.

    Args:
        scores: ``(n, K - 1) float32``.
        thresholds: ``(M, K - 1)`` values that float32 can hold, each column non-decreasing.
        quality: ``(n, K)``.

    Returns:
        Exit shares ``(M, K)`` and mean quality ``(M,)``.
    """
    samples, gates = scores.shape
    rows = len(thresholds)
    columns = thresholds.astype(np.float32)
    leaving = np.empty((rows + 1, gates + 1))
    gained = np.zeros(rows + 1)
    before = np.zeros(samples, dtype=np.int64)
    counted = np.bincount(before, minlength=rows + 1).astype(np.float64)
    for exit_index in range(gates + 1):
        after = np.full(samples, rows, dtype=np.int64)
        if exit_index < gates:
            passed = np.searchsorted(columns[:, exit_index], scores[:, exit_index], side="right")
            after = np.maximum(before, passed)
        histogram = np.bincount(after, minlength=rows + 1).astype(np.float64)
        weights = quality[:, exit_index]
        leaving[:, exit_index] = histogram - counted
        gained += np.bincount(after, weights, minlength=rows + 1)
        gained -= np.bincount(before, weights, minlength=rows + 1)
        before, counted = after, histogram
    return _above(leaving) / samples, _above(gained) / samples


def _above(counts: Array) -> Array:
    """Return for each row m < M the sum of ``counts`` over the row numbers above m."""
    reverse: Array = np.cumsum(counts[::-1], axis=0)[::-1]
    return np.maximum(reverse[1:], 0.0)


def between(low: Floats, high: Floats) -> Floats:
    """Return thresholds midway between neighbouring scores that part ``low`` from ``high``.

    A threshold t with ``low < t <= high`` holds ``low`` back and lets ``high`` go; midway it
    forgives rounding in an engine. Where no float32 lies between them it is ``high``.
    """
    middle = (low.astype(np.float64) + high.astype(np.float64)) / 2
    rounded = middle.astype(np.float32)
    return np.where(rounded > low, rounded, high)


def at_ranks(scores: Floats, ranks: Integers) -> Floats:
    """Return thresholds that hold back the lowest scores.

    Args:
        scores: ``(n,)``, ascending.
        ranks: How many scores, 0 to n, lie below each threshold (fewer where scores tie).
    """
    high = np.append(scores, np.nextafter(scores[-1:], np.float32(np.inf)))[ranks]
    low = scores[np.maximum(ranks - 1, 0)]
    return np.where(ranks == 0, scores[0], between(low, high))


def with_extremes(thresholds: Array) -> Array:
    """Return the table between a row that lets all go at exit 1 and one that lets none go."""
    far = np.full((1, thresholds.shape[1]), FAR, dtype=np.float32).astype(np.float64)
    return np.concatenate([-far, thresholds, far])


def shared_rows(scores: Floats, costs: Array, rows: int = ROWS) -> Array:
    """Return the family that holds all scores against one number, in even steps of cost.

    With ``A_k`` the highest of a sample's first k scores, the mean cost at threshold t is
    ``c_1 + sum_k (c_{k+1} - c_k) P(A_k < t)``: a distribution function over all ``A_k``, weighted
    by what the next stage costs. Its quantiles are even steps of cost.

    Args:
        scores: ``(n, K - 1) float32``.
        costs: ``(K,)``, rising.
        rows: Most rows wanted.
    """
    highest = np.maximum.accumulate(scores, axis=1)
    order = np.argsort(highest, axis=None, kind="stable")
    values = highest.ravel()[order]
    weight = np.broadcast_to(np.diff(costs), highest.shape).ravel()[order].cumsum()
    targets = np.linspace(0.0, 1.0, rows - 3)[1:] * weight[-1]
    places = np.searchsorted(weight, targets * (1 - 1e-12))
    beyond = np.nextafter(values[-1:], np.float32(np.inf))
    shared = np.unique(np.concatenate([values[:1], values[places], beyond]))
    table = np.empty((len(shared), scores.shape[1]))
    for gate in range(scores.shape[1]):
        ascending = np.sort(scores[:, gate])
        rank = np.searchsorted(ascending, shared, side="left")
        inside = (rank > 0) & (rank < len(ascending))
        table[:, gate] = np.where(inside, at_ranks(ascending, rank), shared)
    return with_extremes(table)


def isotonic(values: Array, weights: Array) -> Array:
    """Return the non-decreasing sequence nearest to ``values`` in weighted squares.

    Pool adjacent violators (Ayer et al., 1955).
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (first, heavy, many), (second, light, few) = blocks[-2:]
            mean = (first * heavy + second * light) / (heavy + light)
            blocks[-2:] = [(mean, heavy + light, many + few)]
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


def nest(held: Array, weights: Array) -> Array:
    """Return the nested path nearest to one that may not be nested.

    Args:
        held: ``(P, K - 1)`` held-back fractions, from cheap to dear.
        weights: ``(P, K - 1)``: how much each of them matters, such as the share of samples
            that reach the gate; where nothing does, any value will do.
    """
    columns = [isotonic(held[:, gate], weights[:, gate] + 1e-9) for gate in range(held.shape[1])]
    return np.column_stack(columns)


def path_rows(path: Array, scores: Floats, costs: Array, rows: int = ROWS) -> Array:
    """Return rows in even steps of cost along a path of per-exit quantiles.

    Args:
        path: ``(P, K - 1)``, each column non-decreasing in [0, 1]: the fraction of all scores of
            gate k that lie below its threshold.
        scores: ``(n, K - 1) float32``.
        costs: ``(K,)``, rising.
        rows: Most rows wanted.
    """
    length = np.concatenate([[0.0], np.abs(np.diff(path, axis=0)).sum(axis=1).cumsum()])
    fine = np.linspace(0.0, length[-1], PATH_POINTS)
    table = np.empty((len(fine), scores.shape[1]))
    for gate in range(scores.shape[1]):
        share = np.interp(fine, length, path[:, gate])
        ranks = np.rint(share * len(scores)).astype(np.int64)
        table[:, gate] = at_ranks(np.sort(scores[:, gate]), ranks)
    shares, _ = measure(scores, table, np.zeros((len(scores), len(costs)), dtype=np.float32))
    cost = np.maximum.accumulate(shares @ costs)
    places = np.searchsorted(cost, np.linspace(cost[0], cost[-1], rows - 2) * (1 - 1e-12))
    return with_extremes(table[np.unique(np.minimum(places, len(table) - 1))])

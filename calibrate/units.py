"""The independent units of a data set: the samples themselves, or the groups they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.calibrate.nesting import Array, Integers
from edgeexit.calibrate.records import ExitRecords, Floats

MAX_BLOCKS = 1000
"""Blocks of units between which stakes are chosen anew: enough for bets to lose nothing."""


def unit_numbers(parts: Sequence[ExitRecords]) -> list[Integers]:
    """Return the unit ``(n,)`` of each sample of some parts of a data set.

    That is its group; without groups every sample is a unit of its own.
    """
    found, first = [], 0
    for part in parts:
        alone = np.arange(first, first + len(part), dtype=np.int64)
        found.append(alone if part.group is None else part.group)
        first += len(part)
    return found


def split_units(records: ExitRecords, share: float, seed: int) -> tuple[ExitRecords, ExitRecords]:
    """Return two parts in random order of units; no unit is in both.

    Args:
        records: Two units or more.
        share: Of the units, which part the first one gets; each gets at least one.
        seed: Draws them.
    """
    units = unit_numbers([records])[0]
    names = np.random.default_rng(seed).permutation(np.unique(units))
    size = min(max(round(share * len(names)), 1), len(names) - 1)
    in_first = np.isin(units, names[:size])
    return records.take(np.flatnonzero(in_first)), records.take(np.flatnonzero(~in_first))


@dataclass(frozen=True)
class Steps:
    """A quantity that rises or falls, sample by sample, in steps along a nested family.

    At row m of the family sample i leaves at the first exit k with ``m < rows[i, k]``, and the
    quantity is then ``values[i, k]``.

    Attributes:
        rows: ``(n, K) int64``, non-decreasing along k; the last column is M.
        values: ``(n, K)`` value of the quantity at each exit.
        units: ``(n,)`` unit of each sample, numbered from 0 in the order in which they are bet on.
        columns: M.
    """

    rows: Integers
    values: Array
    units: Integers
    columns: int

    @classmethod
    def of(cls, scores: Floats, thresholds: Array, values: Array, order: Integers) -> Steps:
        """Return the steps of a family.

        Args:
            scores: ``(n, K - 1) float32``.
            thresholds: ``(M, K - 1)``, each column non-decreasing.
            values: ``(n, K)``, or ``(K,)`` where all samples share them.
            order: ``(n,)`` number of each sample's unit.
        """
        table = thresholds.astype(np.float32)
        samples, gates = scores.shape
        rows = np.full((samples, gates + 1), len(table), dtype=np.int64)
        for gate in range(gates):
            rows[:, gate] = np.searchsorted(table[:, gate], scores[:, gate], side="right")
        values = np.broadcast_to(values, (samples, gates + 1)).astype(np.float64)
        return cls(np.maximum.accumulate(rows, axis=1), values, order, len(table))

    @property
    def count(self) -> int:
        """Number of units."""
        return int(self.units.max()) + 1

    def blocks(self, most: int = MAX_BLOCKS) -> Iterator[Array]:
        """Yield the mean of each unit's samples at every row, ``(b, M)``, in order of units."""
        by_unit = np.argsort(self.units, kind="stable")
        sizes = np.bincount(self.units)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        step = -(-len(sizes) // most)
        for first in range(0, len(sizes), step):
            last = min(first + step, len(sizes))
            yield self._means(by_unit[ends[first] : ends[last]], first, sizes[first:last])

    def _means(
        self, samples: npt.NDArray[np.intp], first: int, sizes: npt.NDArray[np.intp]
    ) -> Array:
        """Return the means ``(b, M)`` of the units whose samples these are."""
        unit = self.units[samples] - first
        width = self.columns + 1
        weight = 1 / sizes[unit]
        jumps: Array = np.zeros(len(sizes) * width)
        jumps += np.bincount(unit * width, self.values[samples, 0] * weight, len(jumps))
        for exit_index in range(1, self.values.shape[1]):
            rise = self.values[samples, exit_index] - self.values[samples, exit_index - 1]
            place = unit * width + self.rows[samples, exit_index - 1]
            jumps += np.bincount(place, rise * weight, len(jumps))
        means: Array = np.cumsum(jumps.reshape(len(sizes), width), axis=1)[:, : self.columns]
        return means


def in_random_order(units: npt.NDArray[np.int64], seed: int) -> Integers:
    """Return the units ``(n,)`` numbered anew from 0, in an order that the seed draws."""
    names, codes = np.unique(units, return_inverse=True)
    places = np.random.default_rng(seed).permutation(len(names)).astype(np.int64)
    return places[codes.reshape(-1)]

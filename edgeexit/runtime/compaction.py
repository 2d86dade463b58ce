"""At which size a batch goes on once samples have left it, by measured times if there are any."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.cache import DeviceCache

if TYPE_CHECKING:
    from edgeexit.runtime.profile import BatchProfile

_WORTH = 0.97
"""What another size must come to, as a fraction of the smallest one's time: the sizes of a profile
are measured one after the other, and a machine drifts by a few per cent meanwhile."""

Times = npt.NDArray[np.float64]


class SizeChoice:
    """Chooses among the sizes that run. Threads may share it.

    After stage k, m samples are left in a lane of b slots. They can

    1. move to the smallest size that holds them, the rest of it padded;
    2. move to a larger one that runs faster;
    3. stay where they are, among the slots of those that left.

    Times are the sum of the stages ahead at that size and, in 1 and 2, of the move. The sum takes
    it that somebody goes to the end; that more leave before is weighed again when they do.

    Args:
        buckets: The sizes that run, ascending.
        batches: Measured times by batch size, ascending; where they do not reach, as where there
            are none, samples always move to the smallest size.
    """

    def __init__(self, buckets: Sequence[int], batches: Sequence[BatchProfile] = ()) -> None:
        self._buckets = tuple(buckets)
        self._known: dict[tuple[int, int, int], int] = {}
        self._reach = batches[-1].batch if len(batches) > 1 else 0
        if self._reach:
            sizes = np.asarray([batch.batch for batch in batches], np.float64)
            stages = [[stage.p50 for stage in batch.stages] for batch in batches]
            self._each = _at(self._buckets, sizes, np.asarray(stages, np.float64))
            self._ahead = np.cumsum(self._each[:, ::-1], axis=1)[:, ::-1]
            moves = np.asarray([batch.moves for batch in batches], np.float64)
            self._moves = _at(self._buckets, sizes, moves)

    @classmethod
    def of_cache(cls, cache: DeviceCache, buckets: Sequence[int], exits: int) -> SizeChoice:
        """Return the choice by the profile in a device's cache, if there is one of K stages."""
        # Imported late: profiles are taken of a runtime, which stands on this module.
        from edgeexit.runtime.profile import kept_profile

        kept = kept_profile(cache)
        batches = () if kept is None else kept.batches
        whole = [b for b in batches if (len(b.stages), len(b.moves)) == (exits, exits - 1)]
        return cls(buckets, sorted(whole, key=lambda batch: batch.batch))

    def first(self, rows: int) -> int:
        """Return the size at which ``rows`` samples begin; they are at most the largest size."""
        return self._choose(-1, rows, self._buckets[-1])

    def after(self, index: int, rows: int, present: int) -> int:
        """Return the size at which ``rows`` samples go on.

        Args:
            index: The stage that has just run, from 0; not the last one.
            rows: Samples left, at least one and at most ``present``.
            present: The size at which it ran.
        """
        return self._choose(index, rows, present)

    def stage_ms(self, index: int, size: int) -> float:
        """Return the median milliseconds of stage ``index`` (from 0) at one of the sizes.

        Only where several sizes were measured.

        Raises:
            ValueError: It is none of the sizes.
        """
        return float(self._each[self._buckets.index(size), index])

    def move_ms(self, index: int, size: int) -> float:
        """Return the median milliseconds of moving to ``size`` after stage ``index`` (from 0).

        Raises:
            ValueError: As for :meth:`stage_ms`.
        """
        return float(self._moves[self._buckets.index(size), index])

    def _choose(self, index: int, rows: int, present: int) -> int:
        key = (index, rows, present)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._weigh(index, rows, present)
        return found

    def _weigh(self, index: int, rows: int, present: int) -> int:
        first = bisect_left(self._buckets, rows)
        smallest = min(self._buckets[first], present)
        limit = min(present, self._reach)
        if smallest > limit or (index >= 0 and present > self._reach):
            return smallest
        costs = {
            size: self._cost(place, index, move=size < present and index >= 0)
            for place, size in enumerate(self._buckets)
            if rows <= size <= limit
        }
        best = min(costs, key=lambda size: (costs[size], size))
        return best if costs[best] < _WORTH * costs[smallest] else smallest

    def _cost(self, place: int, index: int, *, move: bool) -> float:
        """Return the milliseconds of going on after stage ``index`` at the size at ``place``."""
        moving = float(self._moves[place, index]) if move else 0.0
        return float(self._ahead[place, index + 1]) + moving


def _at(buckets: Sequence[int], sizes: Times, times: Times) -> Times:
    """Return ``(len(buckets), n)`` times, between measured sizes on the straight line."""
    columns = [np.interp(buckets, sizes, column) for column in times.T]
    return np.asarray(columns, np.float64).T

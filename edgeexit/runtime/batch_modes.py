"""What one budget comes to in a single call, in a batch that shrinks, and in one that waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.exits import ExitFamily
from edgeexit.runtime.compaction import SizeChoice
from edgeexit.runtime.setting import mixed_shares

if TYPE_CHECKING:
    from edgeexit.runtime.profile import BatchProfile

Mode = Literal["single", "compacted", "whole"]

_DRAWS = 1000
"""Batches drawn: their mean lies within about 1 % of the expected time."""

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ModeCost:
    """What a sample costs on average in one mode at one batch size.

    Attributes:
        mode: ``single`` for one sample a call; ``compacted`` for a batch that samples leave, as the
            runtime runs them; ``whole`` for a batch whose samples all wait for the last of them.
        batch: Samples a call.
        milliseconds: Mean time a sample.
        static: Mean time a sample of the static model at the same batch size.
    """

    mode: Mode
    batch: int
    milliseconds: float
    static: float

    @property
    def cost(self) -> float:
        """The fraction of the static model's time."""
        return self.milliseconds / self.static


def calibrated_shares(family: ExitFamily | None) -> Shares | None:
    """Return ``(K,)`` shares of the exits at the budget that a family was calibrated at.

    Args:
        family: The calibrated exits, or None.

    Returns:
        None where there are no exits, or no budget that they were calibrated at.
    """
    if family is None or family.budget is None:
        return None
    return mixed_shares(family.shares, family.position(family.budget))


def mode_costs(
    batches: Sequence[BatchProfile], shares: Shares, buckets: Sequence[int], seed: int = 0
) -> tuple[ModeCost, ...]:
    """Return what exit shares cost in every mode at the measured batch sizes.

    With n_k samples left at stage k a call takes ``sum_k stage_k(n_k)``, the moves where the batch
    shrinks, and what a call costs beside its stages. Samples of a batch are taken as independent:
    where they are alike, as the frames of a video, they leave together and waiting costs less.

    Args:
        batches: Measured times, batch 1 first.
        shares: ``(K,)`` fractions of the samples that leave at each exit.
        buckets: The sizes that run, ascending; larger batches than the last are left out.
        seed: Seed of the batches drawn for ``compacted``.
    """
    single, *larger = batches
    reach = np.cumsum(shares[::-1])[::-1]
    stages = np.asarray([stage.p50 for stage in single.stages])
    alone = float(reach @ stages) + single.overhead
    found = [ModeCost("single", 1, alone, single.static.p50)]
    choice = SizeChoice(buckets, batches)
    rng = np.random.default_rng(seed)
    for batch in larger:
        size = batch.batch
        if size > buckets[-1]:
            continue
        times: tuple[tuple[Mode, float], ...] = (
            ("compacted", _compacted(choice, rng.multinomial(size, shares, _DRAWS), size)),
            ("whole", _whole(choice, reach, size)),
        )
        for mode, milliseconds in times:
            each = (milliseconds + batch.overhead) / size
            found.append(ModeCost(mode, size, each, batch.static.p50 / size))
    return tuple(found)


def _whole(choice: SizeChoice, reach: Shares, size: int) -> float:
    """Return the mean milliseconds of a batch in which stage k runs for all while one needs it."""
    slots = choice.first(size)
    some = 1 - (1 - np.clip(reach, 0, 1)) ** size
    return float(sum(p * choice.stage_ms(k, slots) for k, p in enumerate(some.tolist())))


def _compacted(choice: SizeChoice, leavers: npt.NDArray[np.int64], size: int) -> float:
    """Return the mean milliseconds of drawn batches, walked as the router does.

    Args:
        choice: The sizes chosen.
        leavers: ``(draws, K)`` samples that leave at each exit.
        size: Samples of each batch.
    """
    left = size - np.cumsum(leavers, axis=1)
    total = 0.0
    for row in left.tolist():
        slots = choice.first(size)
        for index, rows in enumerate(row):
            total += choice.stage_ms(index, slots)
            if not rows:
                break
            if rows < (row[index - 1] if index else size):
                smaller = choice.after(index, rows, slots)
                if smaller != slots:
                    total += choice.move_ms(index, smaller)
                slots = smaller
    return total / len(left)

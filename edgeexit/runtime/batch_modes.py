"""What one budget comes to in a single call, in a batch that shrinks, and in one that waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.batch_costs import BatchMode
from edgeexit.bundle.exits import ExitFamily
from edgeexit.runtime.compaction import SizeChoice
from edgeexit.runtime.setting import mixed_shares

if TYPE_CHECKING:
    from edgeexit.runtime.profile import BatchProfile

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ModeCost:
    """What a sample costs on average in one mode at one batch size.

    Attributes:
        mode: How a batch runs.
        batch: Samples a call.
        milliseconds: Mean time a sample.
        static: Mean time a sample of the static model at the same batch size.
    """

    mode: BatchMode
    batch: int
    milliseconds: float
    static: float

    @property
    def cost(self) -> float:
        """The fraction of the static model's time."""
        return self.milliseconds / self.static


class BatchTimes:
    """What a sample costs in one mode at one batch size, by a profile.

    With n_k samples left at stage k a call takes ``sum_k stage_k(n_k)``, the moves where the batch
    shrinks, and what a call costs beside its stages. Samples of a batch are taken as independent:
    where they are alike, as the frames of a video, they leave together and waiting costs less.

    Args:
        batches: Measured times, batch 1 first.
        buckets: The sizes that run, ascending; ``batch`` is at most the last.
        mode: How a batch runs.
        batch: Samples a call, one of the measured sizes; 1 for ``single``.

    Attributes:
        mode: As given.
        batch: As given.
        profile: The times at this size.
    """

    def __init__(
        self, batches: Sequence[BatchProfile], buckets: Sequence[int], mode: BatchMode, batch: int
    ) -> None:
        self.mode = mode
        self.batch = batch
        self.profile = next(measured for measured in batches if measured.batch == batch)
        self._choice = SizeChoice(buckets, batches)

    @property
    def static(self) -> float:
        """Milliseconds a sample of the static model at this batch size."""
        return self.profile.static.p50 / self.batch

    def each(self, shares: Shares) -> float:
        """Return the mean milliseconds a sample where ``(K,)`` shares leave at each exit."""
        reach = np.clip(np.cumsum(shares[::-1])[::-1], 0, 1)
        if self.mode == "single":
            spent = float(reach @ [stage.p50 for stage in self.profile.stages])
        elif self.mode == "whole":
            spent = _whole(self._choice, reach, self.batch)
        else:
            spent = _compacted(self._choice, reach, self.batch)
        return (spent + self.profile.overhead) / self.batch

    def cost(self, shares: Shares) -> ModeCost:
        """Return the same beside the static model."""
        return ModeCost(self.mode, self.batch, self.each(shares), self.static)


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
    batches: Sequence[BatchProfile], shares: Shares, buckets: Sequence[int]
) -> tuple[ModeCost, ...]:
    """Return what exit shares cost in every mode at the measured batch sizes.

    Args:
        batches: Measured times, batch 1 first.
        shares: ``(K,)`` fractions of the samples that leave at each exit.
        buckets: The sizes that run, ascending; larger batches than the last are left out.
    """
    sizes = [batch.batch for batch in batches[1:] if batch.batch <= buckets[-1]]
    modes: tuple[BatchMode, ...] = ("compacted", "whole")
    wanted: list[tuple[BatchMode, int]] = [("single", 1)]
    wanted += [(mode, size) for size in sizes for mode in modes]
    return tuple(BatchTimes(batches, buckets, *each).cost(shares) for each in wanted)


def _whole(choice: SizeChoice, reach: Shares, size: int) -> float:
    """Return the mean milliseconds of a batch in which stage k runs for all while one needs it."""
    slots = choice.first(size)
    some = 1 - (1 - reach) ** size
    return float(sum(p * choice.stage_ms(k, slots) for k, p in enumerate(some.tolist())))


def _compacted(choice: SizeChoice, reach: Shares, size: int) -> float:
    """Return the mean milliseconds of a batch that shrinks as the router shrinks it.

    It is a chain: where m samples are left in a lane of b slots, those that go on from there are
    binomial, and the pair (m, b) after the next stage depends on nothing before it.
    """
    chances = {choice.first(size): np.eye(size + 1)[size]}
    spent = 0.0
    for index, reached in enumerate(reach.tolist()):
        spent += sum(float(p.sum()) * choice.stage_ms(index, b) for b, p in chances.items())
        if index < len(reach) - 1:
            going = float(reach[index + 1]) / reached if reached else 0.0
            chances, moving = _leave(choice, index, chances, _binomial(size, min(going, 1.0)))
            spent += moving
    return spent


def _leave(
    choice: SizeChoice, index: int, chances: dict[int, Shares], going: Shares
) -> tuple[dict[int, Shares], float]:
    """Return the chances after samples have left at exit ``index`` (from 0).

    Args:
        choice: The sizes chosen.
        index: The stage that has just run.
        chances: ``(N + 1,)`` chances of the number of samples left, by the slots of their lane.
        going: ``(N + 1, N + 1)`` chances that of m samples n go on.

    Returns:
        The chances of those that go on, and the expected milliseconds of the moves.
    """
    after: dict[int, Shares] = {}
    moving = 0.0
    everybody = going.diagonal()
    fewer = going - np.diag(everybody)
    for slots, chance in chances.items():
        # Nobody left, so nothing is chosen anew; a batch that all have left is not run on.
        stays = after.setdefault(slots, np.zeros(len(chance)))
        stays[1:] += (chance * everybody)[1:]
        reached = chance @ fewer
        for left in (np.flatnonzero(reached[1:]) + 1).tolist():
            size = choice.after(index, left, slots)
            after.setdefault(size, np.zeros(len(chance)))[left] += reached[left]
            if size != slots:
                moving += float(reached[left]) * choice.move_ms(index, size)
    return after, moving


def _binomial(size: int, chance: float) -> Shares:
    """Return ``(size + 1, size + 1)`` probabilities that of m samples n do what each may do."""
    table = np.zeros((size + 1, size + 1))
    table[0, 0] = 1.0
    for samples in range(1, size + 1):
        table[samples] = (1 - chance) * table[samples - 1]
        table[samples, 1:] += chance * table[samples - 1, :-1]
    return table

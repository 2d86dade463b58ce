"""Batches of a data set, in an order that a resumed run finds again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeexit.dmpo.data.augment import Augment
from edgeexit.dmpo.data.dataset import MASK, LabelledSet

Batch = tuple[dict[str, Tensor], Tensor]
"""The inputs by name, and ``(B,) int64`` labels."""

Rows = npt.NDArray[np.intp]

_WINDOW = 50
"""Batches in which texts are sorted by length: enough to save most padding, few enough that the
order stays random."""

_STEP = 8
"""Texts are padded to a multiple of this; few sizes let the processor's caches be reused."""


class Batches:
    """Cuts a data set into batches; what epoch e holds depends on ``(seed, e)`` alone.

    Args:
        dataset: The samples.
        batch: Samples a batch.
        seed: Of the order and of the augmentation, 0 or more.
        bucket: Texts of similar length share a batch, which ends with its longest text, rounded
            up to 8 tokens. Images are not concerned.
        shuffle: False for the order of the data set (evaluation): every sample exactly once over
            all processes.
        augment: What is done to images.
        rank: Number of this process, from 0.
        world: Number of processes. While shuffling all have equally many batches, and the first
            ones are seen twice where the count does not divide.
    """

    def __init__(
        self,
        dataset: LabelledSet,
        batch: int,
        seed: int,
        bucket: bool = True,
        *,
        shuffle: bool = True,
        augment: Augment | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._dataset = dataset
        self._batch = batch
        self._seed = seed
        self._shuffle = shuffle
        self._augment = augment
        self._rank = rank
        self._world = world
        self._lengths = _text_lengths(dataset) if bucket else None

    def __len__(self) -> int:
        """Return how many batches of an epoch this process sees."""
        total = len(self._cut(np.arange(len(self._dataset))))
        if self._shuffle:
            return -(-total // self._world)
        return len(range(self._rank, total, self._world))

    def rows(self, number: int) -> list[Rows]:
        """Return the rows of the data set in each batch of epoch ``number`` on this process."""
        batches = self._all_rows(number)
        places = range(self._rank, len(self) * self._world, self._world)
        return [batches[place % len(batches)] for place in places]

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch ``number`` (from 0), without the first ``skip`` ones."""
        for index, rows in enumerate(self.rows(number)):
            if index >= skip:
                yield self._collate(rows, number, index * self._world + self._rank)

    def _all_rows(self, number: int) -> list[Rows]:
        """Return the rows of every batch of an epoch, over all processes."""
        count = len(self._dataset)
        if not self._shuffle:
            return self._cut(np.arange(count))
        random = np.random.default_rng([self._seed, number])
        order = random.permutation(count)
        if self._lengths is None:
            return self._cut(order)
        window = self._batch * _WINDOW
        for start in range(0, count, window):
            part = order[start : start + window]
            order[start : start + window] = part[np.argsort(self._lengths[part], kind="stable")]
        batches = self._cut(order)
        return [batches[place] for place in random.permutation(len(batches))]

    def _cut(self, order: Rows) -> list[Rows]:
        batches = [order[i : i + self._batch] for i in range(0, len(order), self._batch)]
        if self._shuffle and self._batch > 1 and len(batches) > 1 and len(batches[-1]) == 1:
            # A batch norm cannot learn from one sample.
            last = batches.pop()
            batches[-1] = np.concatenate([batches[-1], last])
        return batches

    def _collate(self, rows: Rows, epoch: int, index: int) -> Batch:
        inputs = {name: array[rows] for name, array in self._dataset.inputs.items()}
        if self._lengths is not None:
            full = inputs[MASK].shape[1]
            end = min(full, -(-int(self._lengths[rows].max()) // _STEP) * _STEP)
            inputs = {
                name: array[:, :end] if array.ndim == 2 and array.shape[1] == full else array
                for name, array in inputs.items()
            }
        if self._augment is not None:
            # One more than the index: a trailing 0 would repeat the seed of the epoch's order.
            random = np.random.default_rng([self._seed, epoch, index + 1])
            inputs = {
                name: self._augment.apply(array, random) if array.ndim == 4 else array
                for name, array in inputs.items()
            }
        tensors = {n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in inputs.items()}
        return tensors, torch.from_numpy(self._dataset.labels[rows])


def _text_lengths(dataset: LabelledSet) -> npt.NDArray[np.int64] | None:
    """Return the place after each text's last token, or None where there are no texts."""
    mask = dataset.inputs.get(MASK)
    if mask is None or mask.ndim != 2:
        return None
    places = np.arange(1, mask.shape[1] + 1, dtype=np.int64)
    lengths: npt.NDArray[np.int64] = np.max((mask != 0) * places, axis=1, initial=1)
    return lengths

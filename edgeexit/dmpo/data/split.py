"""Shares of a data set: every class gives its part, and no sample or group is in two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeexit.dmpo.data.dataset import Array, Labels

Rows = npt.NDArray[np.intp]


def split_rows(
    labels: Labels, shares: Sequence[float], seed: int, group: Array | None = None
) -> tuple[Rows, ...]:
    """Return the rows that remain, then the rows of each share; each ascending.

    The order within a class depends on the seed and the class alone. At least one sample of every
    class remains, so that a class with few samples may be missing from a share.

    Args:
        labels: Class numbers.
        shares: Parts of the whole, each in 0..1, below 1 together.
        seed: Of the draw, 0 or more.
        group: ``(n,)`` what each sample came from. No group is then in two parts, and a share may
            be off by half a group.
    """
    if group is not None and any(shares):
        return _split_groups(labels, shares, seed, group)
    parts: list[list[Rows]] = [[] for _ in range(len(shares) + 1)]
    seen = 0
    for number in np.unique(labels):
        rows = np.flatnonzero(labels == number)
        rows = np.random.default_rng([seed, int(number) + 1]).permutation(rows)
        taken = 0
        for place, share in enumerate(shares, start=1):
            # Differences of a rounded running sum: the whole has its share to within one sample.
            wanted = _rounded((seen + len(rows)) * share) - _rounded(seen * share)
            count = min(wanted, len(rows) - 1 - taken)
            parts[place].append(rows[taken : taken + count])
            taken += count
        parts[0].append(rows[taken:])
        seen += len(rows)
    empty = np.zeros(0, dtype=np.intp)
    return tuple(np.sort(np.concatenate([empty, *part])) for part in parts)


def _split_groups(
    labels: Labels, shares: Sequence[float], seed: int, group: Array
) -> tuple[Rows, ...]:
    """Return the parts, whole groups drawn one after the other while a share lacks samples."""
    _, numbers = np.unique(group, return_inverse=True)
    remaining = np.bincount(labels)
    lacking = np.asarray(shares) * len(labels)
    parts = np.zeros(len(labels), dtype=np.intp)
    for number in np.random.default_rng([seed, 0]).permutation(numbers.max() + 1):
        rows = np.flatnonzero(numbers == number)
        counts = np.bincount(labels[rows], minlength=len(remaining))
        place = int(np.argmax(lacking))
        last_of_a_class = bool(((remaining == counts) & (counts > 0)).any())
        if lacking[place] < len(rows) / 2 or last_of_a_class:
            continue
        parts[rows] = place + 1
        lacking[place] -= len(rows)
        remaining = remaining - counts
    return tuple(np.flatnonzero(parts == place) for place in range(len(shares) + 1))


def _rounded(value: float) -> int:
    return int(value + 0.5)

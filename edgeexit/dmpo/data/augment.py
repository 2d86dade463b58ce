"""Random shifts and mirroring of images, drawn anew for every batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeexit.dmpo.data.dataset import Array

SHIFT = 1 / 28
"""Largest shift as a share of the side: one pixel of a 28 x 28 image."""


@dataclass(frozen=True)
class Augment:
    """What is done to training images.

    Attributes:
        shift: Move each image by up to :data:`SHIFT` of its side; what it uncovers repeats the
            border.
        flip: Mirror each image left to right with probability 1/2.
    """

    shift: bool = True
    flip: bool = False

    def apply(self, images: Array, random: np.random.Generator) -> Array:
        """Return changed copies of ``(B, C, H, W)`` images of any type."""
        count, _, height, width = images.shape
        rows = np.tile(np.arange(height), (count, 1))
        columns = np.tile(np.arange(width), (count, 1))
        if self.shift:
            rows = _shifted(rows, random)
            columns = _shifted(columns, random)
        if self.flip:
            mirrored = random.random(count) < 0.5
            columns[mirrored] = columns[mirrored, ::-1]
        samples = np.arange(count)[:, None, None]
        # Indices apart by the channel axis put that axis last.
        picked = images[samples, :, rows[:, :, None], columns[:, None, :]]
        return np.ascontiguousarray(picked.transpose(0, 3, 1, 2))


def _shifted(places: Array, random: np.random.Generator) -> Array:
    count, side = places.shape
    most = max(1, round(side * SHIFT))
    shifts = random.integers(-most, most, size=(count, 1), endpoint=True)
    shifted: Array = np.clip(places + shifts, 0, side - 1)
    return shifted

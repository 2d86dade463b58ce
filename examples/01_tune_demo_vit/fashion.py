"""Reads Fashion-MNIST and splits it: training, calibration and test images."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

SIDE = 28
CALIBRATION_POOL = 5_000
"""Training images that no weight is ever fitted on; the calibration set is drawn from them."""

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images ``(n, 1, 28, 28) uint8`` and their labels ``(n,) int64``."""

    image: Bytes
    y: Labels

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: npt.NDArray[np.int64]) -> Split:
        """Return the split that holds only ``rows``, in that order."""
        return Split(self.image[rows], self.y[rows])

    def stratified(self, count: int, seed: int) -> tuple[Split, Split]:
        """Return ``count`` rows with the same number of each class, and the rows left over."""
        draw = np.random.default_rng(seed).permutation(len(self))
        per_class = count // len(np.unique(self.y))
        chosen = [draw[self.y[draw] == label][:per_class] for label in np.unique(self.y)]
        rows = np.sort(np.concatenate(chosen))
        rest = np.setdiff1d(np.arange(len(self)), rows)
        return self.take(rows), self.take(rest)

    def save(self, path: Path) -> None:
        """Write ``image`` and ``y`` to a compressed ``.npz`` file."""
        np.savez_compressed(path, image=self.image, y=self.y)


def read_idx(path: Path) -> Bytes:
    """Return the uint8 array of a gzipped idx file (format: magic, one size an axis, bytes).

    Raises:
        SystemExit: The file is missing or holds no such array.
    """
    if not path.is_file():
        raise SystemExit(
            f"no {path.name} in {path.parent}: --data takes the folder with the four gzipped "
            "Fashion-MNIST files (on Debian: apt-get install dataset-fashion-mnist, then "
            "/usr/share/datasets/fashion-mnist)."
        )
    content = gzip.decompress(path.read_bytes())
    zeros, kind, axes = struct.unpack_from(">HBB", content)
    shape = struct.unpack_from(f">{axes}I", content, offset=4)
    start = 4 + 4 * axes
    if zeros != 0 or kind != 8 or len(content) != start + int(np.prod(shape)):
        raise SystemExit(f"{path} is not an idx file of bytes: fetch the data set again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def load(folder: Path, part: str) -> Split:
    """Return one part, ``train`` (60,000) or ``t10k`` (10,000), of the data set in ``folder``."""
    image = read_idx(folder / f"{part}-images-idx3-ubyte.gz").reshape(-1, 1, SIDE, SIDE)
    return Split(image, read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64))

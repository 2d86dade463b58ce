"""Turns the files of Fashion-MNIST into ``train.npz``, ``test.npz`` and ``ten.npy``.

Run ``python prepare.py``; see README.md.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeexit.demo import CLASS_NAMES

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
PARTS = {"train": "train.npz", "t10k": "test.npz"}
"""Each part of the data set, and the file it becomes."""

TEN = "ten.npy"
"""The first test image of every class, without labels."""

_IDX_BYTES = 8
"""Type code of unsigned bytes in an idx file."""

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both parts, and ten images to answer, to ``--out``."""
    options = parse(arguments)
    parts = {name: read_part(options.data, name) for name in PARTS}
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in parts.items():
        count = min(options.rows or len(labels), len(labels))
        rows = np.arange(count) if count == len(labels) else stratified_rows(labels, count)
        path = options.out / PARTS[name]
        np.savez(path, image=images[rows], y=labels[rows], classes=np.asarray(CLASS_NAMES))
        print(f"{path}: {len(rows)} images")
    images, labels = parts["t10k"]
    np.save(options.out / TEN, images[np.unique(labels, return_index=True)[1]])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Fashion-MNIST as train.npz and test.npz.")
    parser.add_argument(
        "--data",
        type=Path,
        default=DEBIAN_FOLDER,
        metavar="DIR",
        help="folder of the four gzipped idx files (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where to write (default: here)"
    )
    parser.add_argument(
        "--rows", type=int, metavar="N", help="most images of each file, equally many a class"
    )
    options = parser.parse_args(arguments)
    if options.rows is not None and options.rows < len(CLASS_NAMES):
        parser.error(f"--rows is {options.rows}; one image of each of the 10 classes is the least.")
    return options


def read_part(folder: Path, part: str) -> tuple[Bytes, Labels]:
    """Return images ``(n, 1, 28, 28) uint8`` and labels ``(n,) int64``.

    Args:
        folder: Folder of the four gzipped idx files.
        part: ``train`` (60,000 images) or ``t10k`` (10,000).

    Raises:
        SystemExit: A file is missing or no idx file of bytes.
    """
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    return images[:, None], read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)


def read_idx(path: Path) -> Bytes:
    """Return the array of a gzipped idx file: magic, one size an axis, the bytes.

    Raises:
        SystemExit: The file is missing or holds no such array.
    """
    if not path.is_file():
        raise SystemExit(
            f"no {path.name} in {path.parent}: --data takes the folder of the four gzipped "
            "Fashion-MNIST files (on Debian: apt-get install dataset-fashion-mnist, then "
            f"{DEBIAN_FOLDER})."
        )
    try:
        content = gzip.decompress(path.read_bytes())
        zeros, kind, axes = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{axes}I", content, offset=4)
    except (EOFError, OSError, struct.error):
        zeros, kind, axes, shape, content = 0, 0, 0, (0,), b""
    start = 4 + 4 * axes
    if zeros != 0 or kind != _IDX_BYTES or len(content) != start + int(np.prod(shape)):
        raise SystemExit(f"{path} is not an idx file of bytes: fetch the data set again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def stratified_rows(labels: Labels, count: int, seed: int = 0) -> npt.NDArray[np.intp]:
    """Return ``count`` rows, or a few less, in order: the same number of every class.

    Args:
        labels: The classes of all rows.
        count: How many rows are wanted.
        seed: Of the draw.
    """
    classes = np.unique(labels)
    draw = np.random.default_rng(seed).permutation(len(labels))
    chosen = [draw[labels[draw] == label][: count // len(classes)] for label in classes]
    return np.sort(np.concatenate(chosen))


if __name__ == "__main__":
    main()

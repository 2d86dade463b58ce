"""Regenerates the proof table: ``python -m tests.benchmarks.methods``.

Every training is a cell with a file of its own; what is done is not done again, so the command may
be stopped and started at will.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from edgeexit.errors import EdgeExitError
from tests.benchmarks.folders import DOCS, SCRATCH
from tests.benchmarks.methods.cells import Cell, grid
from tests.benchmarks.methods.page import PASSES, cells_folder, write_page
from tests.benchmarks.methods.pool import Pool
from tests.benchmarks.methods.recipes import RECIPES, SEEDS
from tests.benchmarks.methods.sources import FASHION, Places


def main(arguments: list[str] | None = None) -> int:
    """Run the cells that are missing, then write the table; 1 where a cell failed."""
    options = _parser().parse_args(arguments)
    if options.cell:
        return _run_one(options)
    folder = cells_folder(_root(options), _size(options))
    folder.mkdir(parents=True, exist_ok=True)
    failed: list[Cell] = []
    if not options.table:
        cells = _cells(options)
        missing = [cell for cell in cells if not cell.done(folder)]
        _tell(f"{len(missing)} of {len(cells)} cells to do in {folder}")
        failed = Pool(options.workers, folder, _handed_on(options), _tell).run(missing)
    page = write_page(_root(options), "quick" if options.quick else "table")
    _tell(f"written: {page}")
    for cell in failed:
        _tell(f"failed: {cell.name}")
    return 1 if failed else 0


def _run_one(options: argparse.Namespace) -> int:
    """Run one cell in this process; its result's one line goes to stdout."""
    from tests.benchmarks.methods.run import run_cell

    task, method, seed, size = options.cell
    cell = Cell(task, method, int(seed), size)
    try:
        print(run_cell(cell, options.output, Places(options.fashion)))
    except EdgeExitError as error:
        _tell(str(error))
        return error.exit_code
    return 0


def _cells(options: argparse.Namespace) -> list[Cell]:
    size = _size(options)
    usual = PASSES.get(size)
    methods = options.methods or (usual.methods if usual else None)
    seeds = options.seeds if options.seeds is not None else (usual.seeds if usual else SEEDS)
    return grid(options.only or RECIPES, seeds, methods, size)


def _size(options: argparse.Namespace) -> str:
    return "quick" if options.quick else str(options.size)


def _root(options: argparse.Namespace) -> Path:
    """Return the folder of ``methods.md``."""
    chosen: Path | None = options.output
    return (chosen or (SCRATCH if options.quick else DOCS)).resolve()


def _handed_on(options: argparse.Namespace) -> list[str]:
    return ["--fashion", str(options.fashion)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.methods", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--only", action="append", choices=RECIPES, metavar="TASK",
        help=f"one task alone; may be repeated: {', '.join(RECIPES)}")  # fmt: skip
    add("--methods", nargs="+", metavar="METHOD", help="these methods alone")
    add("--seeds", nargs="+", type=int, metavar="N", help="these seeds (default: 0 1 2)")
    add("--workers", type=int, default=2, metavar="N", help="cells at once (default: 2)")
    add("--size", default="table", choices=["table", *PASSES],
        help="; ".join(f"{size}: {one.title.lower()}" for size, one in PASSES.items()))  # fmt: skip
    add("--quick", action="store_true",
        help="see that everything runs; figures go to build/bench and mean nothing")  # fmt: skip
    add("--table", action="store_true", help="write the table again from the cells there are")
    add("--output", type=Path, help="folder of methods.md and methods/ (default: docs)")
    add("--fashion", type=Path, default=FASHION, help="folder of Fashion-MNIST's files")
    add("--cell", nargs=4, metavar=("TASK", "METHOD", "SEED", "SIZE"), help=argparse.SUPPRESS)
    return parser


def _tell(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

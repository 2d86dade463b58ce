"""Benchmarks of calibration on real exit records: ``python -m tests.benchmarks.calibration``."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from filelock import FileLock

from tests.benchmarks.calibration.page import Run, write_page
from tests.benchmarks.calibration.pools import POOLS
from tests.benchmarks.folders import DOCS, SCRATCH, cache_folder
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.rows import Effort

SUBJECTS = ("guarantee", "points", "policies", "speed")
"""One module a subject, in the order of the page."""

POOLED = SUBJECTS[:3]
"""Those that are run on every pool, each with a table of its own."""


def main(arguments: list[str] | None = None) -> int:
    """Run the subjects asked for and write their tables; 0 whether or not the figures are met."""
    options = _parser().parse_args(arguments)
    output: Path = options.output or (SCRATCH if options.quick else DOCS)
    effort = Effort(options.quick, _tell)
    output.mkdir(parents=True, exist_ok=True)
    for name in options.only or SUBJECTS:
        module = importlib.import_module(f"tests.benchmarks.calibration.{name}")
        for part in (options.pools or POOLS) if name in POOLED else ("",):
            machine, start = describe_machine(), time.monotonic()
            table = module.run(effort, part)
            command = f"python -m tests.benchmarks.calibration --only {name}"
            command += f" --pools {part}" if part else ""
            run = Run(command, time.monotonic() - start, machine)
            with FileLock(cache_folder() / "calibration.lock"):
                page = write_page(output, f"{name} {part}".strip(), table, run, sections())
            _tell(f"written: {page}")
    return 0


def sections() -> tuple[str, ...]:
    """Return the names of all tables, in the order of the page."""
    names = [f"{name} {part}" for name in POOLED for part in POOLS]
    return (*names, *(name for name in SUBJECTS if name not in POOLED))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.calibration", description=__doc__
    )
    add = parser.add_argument
    add("--only", action="append", choices=SUBJECTS, metavar="NAME",
        help=f"one subject alone; may be repeated: {', '.join(SUBJECTS)}")  # fmt: skip
    add("--pools", nargs="+", choices=tuple(POOLS), help="these records alone")
    add("--quick", action="store_true",
        help="see that everything runs; figures go to build/bench and mean little")  # fmt: skip
    add("--output", type=Path, help="folder of calibration.md (default: docs)")
    return parser


def _tell(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Runs the benchmarks: ``python -m tests.benchmarks [--only NAME] [--quick]``."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from types import ModuleType

from tests.benchmarks.folders import DOCS, SCRATCH
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.report import Section, write_report
from tests.benchmarks.rows import Effort, Row

SUBJECTS = (
    "parity",
    "split_tax",
    "call_cost",
    "budget_latency",
    "tail",
    "batch_cost",
    "threads",
    "truncated",
    "int8_speed",
    "int8_layers",
    "jetson",
    "demo_quality",
    "governor",
    "import_cost",
    "engine_start",
    "memory",
    "race",
)
"""One module a subject, in the order of the table."""


def main(arguments: list[str] | None = None) -> int:
    """Run the subjects asked for and write what they find; 0 whether or not the figures are met."""
    options = _parser().parse_args(arguments)
    output: Path = options.output or (SCRATCH if options.quick else DOCS)
    effort = Effort(options.quick, _tell)
    command = " ".join(["python -m tests.benchmarks", *(arguments or sys.argv[1:])])
    for name in options.only or SUBJECTS:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        section = run_subject(name, module, effort, command)
        # After every subject: what is measured stays, should a later one fail.
        write_report(output, [section])
    _tell(f"written: {output / 'benchmarks.md'} and benchmarks.json")
    return 0


def run_subject(name: str, module: ModuleType, effort: Effort, command: str) -> Section:
    """Run one subject and return its section of the report."""
    start = time.monotonic()
    machine = describe_machine()
    rows: list[Row] = []
    for row in module.run(effort):
        mark = {True: "met", False: "NOT MET", None: ""}[row.met]
        _tell(f"  {row.what}: {row.value} {mark}".rstrip())
        rows.append(row)
    seconds = time.monotonic() - start
    return Section(
        name, module.TITLE, module.NOTE, command, effort.quick, seconds, machine, tuple(rows)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=SUBJECTS, metavar="NAME",
        help=f"run one subject alone; may be repeated: {', '.join(SUBJECTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true",
        help="see that everything runs; figures go to build/bench and mean little",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, help="folder of benchmarks.json and benchmarks.md (default: docs)"
    )
    return parser


def _tell(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

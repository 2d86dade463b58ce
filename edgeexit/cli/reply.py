"""What a verb says: its result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO

import click

Progress = Callable[[str, float], None]
"""Called with the name of the step at hand and the share of it that is done, in [0, 1]."""


@dataclass(frozen=True)
class Table:
    """A table of text; the first column is aligned left, the others right.

    Attributes:
        columns: The headings.
        rows: One cell a column.
        title: A line above it.
        text_columns: Further columns that hold words, aligned left.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    text_columns: tuple[str, ...] = ()

    def is_text(self, index: int) -> bool:
        """Whether the column is aligned left."""
        return index == 0 or self.columns[index] in self.text_columns


class Reply:
    """The streams of one verb, a context manager.

    Inside, file descriptor 1 leads to stderr: engines and quantizers that print would spoil
    a result that a script parses. Only :meth:`answer` writes to what was stdout.

    Args:
        as_json: Answer with one JSON object instead of text and tables.
        quiet: No progress and no log lines.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        sys.stdout.flush()
        self._stdout: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def __enter__(self) -> Reply:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stdout.flush()
        os.dup2(self._stdout.fileno(), 1)

    def answer(self, payload: Mapping[str, Any], *blocks: str | Table) -> None:
        """Write the result: ``payload`` with ``--json``, else the blocks in order."""
        if self.as_json:
            self._stdout.write(json.dumps(payload, indent=2, allow_nan=False) + "\n")
        elif self._stdout.isatty():
            _print_rich(self._stdout, blocks)
        else:
            for block in blocks:
                self._stdout.write((plain(block) if isinstance(block, Table) else block) + "\n")
        self._stdout.flush()

    def log(self, text: str) -> None:
        """Write a line to stderr."""
        if not self.quiet:
            click.echo(text, err=True)

    @contextmanager
    def progress(self, *, one_bar: bool = False) -> Iterator[Progress]:
        """Yield a callable that shows progress: bars on a terminal, else one line a step.

        Args:
            one_bar: The share counts for the whole work; steps follow each other in one bar.
        """
        if self.quiet or not sys.stderr.isatty():
            yield _StepLog(self)
            return
        from rich.console import Console
        from rich.progress import Progress as Bars
        from rich.progress import TaskID

        with Bars(console=Console(stderr=True)) as bars:
            tasks: dict[str, TaskID] = {}

            def show(step: str, done: float) -> None:
                key = "" if one_bar else step
                if key not in tasks:
                    # What was done before the first call tells nothing of the speed.
                    tasks[key] = bars.add_task(step, total=1.0, completed=done)  # type: ignore[arg-type]
                bars.update(tasks[key], description=step, completed=done)

            yield show


class _StepLog:
    """Progress without a terminal: the name of each step, once."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._step = ""

    def __call__(self, step: str, done: float) -> None:
        if step != self._step:
            self._step = step
            self._reply.log(step)


def plain(table: Table) -> str:
    """Return the table as aligned columns, two spaces apart."""
    cells = [list(table.columns), *[list(row) for row in table.rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    lines = [table.title] if table.title else []
    for row in cells:
        padded = [
            cell.ljust(width) if table.is_text(i) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _print_rich(stream: TextIO, blocks: Sequence[str | Table]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(file=stream, highlight=False)
    for block in blocks:
        if isinstance(block, str):
            console.print(block, markup=False)
            continue
        table = RichTable(title=block.title or None, title_justify="left", box=box.SIMPLE_HEAD)
        for index, column in enumerate(block.columns):
            table.add_column(column, justify="left" if block.is_text(index) else "right")
        for row in block.rows:
            table.add_row(*row)
        console.print(table)

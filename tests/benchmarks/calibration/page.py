"""``calibration.md``: the tables between two markers, the words around them left as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeexit.bundle.atomic import write_atomic
from tests.benchmarks.machine import MachineState

BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"
"""Between these lines stands what the command writes."""

_PAGE = f"# Calibration\n\n{BEGIN}\n{END}\n"


@dataclass(frozen=True)
class Goal:
    """A wanted figure.

    Attributes:
        what: What it is of.
        value: What was found.
        wanted: What is wanted.
        met: Whether it is.
    """

    what: str
    value: str
    wanted: str
    met: bool


@dataclass(frozen=True)
class Table:
    """One subject's figures.

    Attributes:
        title: Its heading.
        note: What the figures mean.
        columns: Headings of the columns.
        rows: One list of cells a row.
        goals: The wanted figures among them.
        values: The figures as numbers, for scripts.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    goals: Sequence[Goal]
    values: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


@dataclass(frozen=True)
class Run:
    """How a table was made.

    Attributes:
        command: The command.
        seconds: How long it took.
        machine: Where.
    """

    command: str
    seconds: float
    machine: MachineState


def write_page(folder: Path, name: str, table: Table, run: Run, order: Sequence[str]) -> Path:
    """Take a subject's table up into the folder's page; those of other subjects stay.

    Args:
        folder: Holds ``calibration.md`` and ``calibration.json``.
        name: The subject.
        table: Its figures.
        run: How they were made.
        order: All subjects, in the order of the page.

    Raises:
        ValueError: The page lacks a marker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / "calibration.json", folder / "calibration.md"
    kept: dict[str, Any] = json.loads(data.read_text()) if data.exists() else {}
    kept[name] = asdict(table) | asdict(run)
    write_atomic(data, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
    text = page.read_text() if page.exists() else _PAGE
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{page} lacks the line {BEGIN!r} or {END!r}")
    body = "\n".join(_body([kept[each] for each in order if each in kept]))
    write_atomic(page, f"{before}{BEGIN}\n\n{body}\n{END}{after}".encode())
    return page


def _body(sections: list[dict[str, Any]]) -> Iterator[str]:
    goals = [goal for section in sections for goal in section["goals"]]
    yield f"{sum(goal['met'] for goal in goals)} of {len(goals)} wanted figures are met.\n"
    for goal in goals:
        if not goal["met"]:
            yield f"- not met: {goal['what']}: {goal['value']} (wanted: {goal['wanted']})"
    for section in sections:
        yield from _section(section)


def _section(section: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n### {section['title']}\n\n{section['note']}\n"
    yield _line(section["columns"])
    yield _line(["---"] * len(section["columns"]))
    yield from (_line(row) for row in section["rows"])
    if section["goals"]:
        yield "\n| wanted | found | |\n| --- | --- | --- |"
        for goal in section["goals"]:
            mark = "met" if goal["met"] else "**not met**"
            yield _line([f"{goal['what']}: {goal['wanted']}", goal["value"], mark])
    machine = section["machine"]
    yield (
        f"\n`{section['command']}`: {section['seconds']:.0f} s on {machine['processor']}, "
        f"{machine['cores']} cores, load {machine['load']}, {machine['time']}."
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

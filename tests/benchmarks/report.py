"""The report: ``benchmarks.json`` with every figure, ``benchmarks.md`` with the tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.bundle.atomic import write_atomic
from tests.benchmarks.machine import MachineState
from tests.benchmarks.rows import Row

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
"""Between these lines of ``benchmarks.md`` stands what the command writes."""

_PAGE = f"""# Benchmarks

{BEGIN}
{END}
"""
_MARKS = {True: "yes", False: "**no**", None: ""}


@dataclass(frozen=True)
class Section:
    """One subject's figures.

    Attributes:
        name: The subject.
        title: Its heading.
        note: What the figures mean.
        command: The command that measured them.
        quick: Whether it was a quick run, whose figures mean little.
        seconds: How long it took.
        machine: Where and when.
        rows: The figures.
    """

    name: str
    title: str
    note: str
    command: str
    quick: bool
    seconds: float
    machine: MachineState
    rows: tuple[Row, ...]


def write_report(folder: Path, sections: Sequence[Section]) -> None:
    """Take sections up into the folder's report; those of other subjects stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / "benchmarks.json", folder / "benchmarks.md"
    kept: dict[str, Any] = json.loads(data.read_text()) if data.exists() else {}
    kept |= {section.name: dataclasses.asdict(section) for section in sections}
    write_atomic(data, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
    text = page.read_text() if page.exists() else _PAGE
    write_atomic(page, replace_between(text, markdown(list(kept.values()))).encode())


def replace_between(text: str, tables: str) -> str:
    """Return ``text`` with ``tables`` between its markers.

    Raises:
        ValueError: A marker is missing.
    """
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"benchmarks.md lacks the line {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def markdown(sections: Sequence[Mapping[str, Any]]) -> str:
    """Return the sections as headings, notes and tables."""
    ordered = sorted(sections, key=_place)
    wanted = [row for section in ordered for row in section["rows"] if row["met"] is not None]
    met = sum(row["met"] for row in wanted)
    parts = [f"{met} of {len(wanted)} wanted figures are met.\n"]
    missed = [row for row in wanted if not row["met"]]
    parts += [f"- not met: {row['what']}: {row['value']} (wanted: {row['wanted']})"
              for row in missed]  # fmt: skip
    parts += [_section(section) for section in ordered]
    return "\n".join(parts)


def _place(section: Mapping[str, Any]) -> int:
    from tests.benchmarks.__main__ import SUBJECTS

    return SUBJECTS.index(section["name"])


def _section(section: Mapping[str, Any]) -> str:
    rows = section["rows"]
    same, wanted = any(row["same"] for row in rows), any(row["wanted"] for row in rows)
    head = ["what", "value", *(["against itself"] if same else [])]
    head += ["wanted", "met"] if wanted else []
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        cells = [row["what"], row["value"], *([row["same"]] if same else [])]
        cells += [row["wanted"] or "shown", _MARKS[row["met"]]] if wanted else []
        lines.append(_line(cells))
    return "\n".join([
        f"\n## {section['title']}\n",
        f"{section['note']}\n",
        *lines,
        f"\n`{section['command']}`, {section['seconds']:.0f} s"
        f"{', **quick run**' if section['quick'] else ''}. {_machine(section['machine'])}\n",
    ])  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _machine(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{', '.join(machine['features']) or 'no known features'}; {machine['system']}; "
        f"{versions}; load average {machine['load']} at {machine['time']}."
    )

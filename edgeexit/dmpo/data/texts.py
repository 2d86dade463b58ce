"""Texts and their labels from a table: ``.csv``, ``.tsv`` or ``.jsonl``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from edgeexit.dmpo.data.fault import data_error, is_unicode

SUFFIXES = (".csv", ".tsv", ".jsonl")
"""Endings of the names of the tables that are read."""

_MAX_FIELD = 1 << 24
"""Most characters of one field; the csv module's own cap of 131,072 refuses long articles."""

_SHOWN = 8
"""Most column names in a message."""


@dataclass(frozen=True)
class Texts:
    """The rows of a table.

    Attributes:
        texts: The texts, none of them blank.
        labels: The label of each, as text.
        where: Name of the file, for messages.
    """

    texts: Sequence[str]
    labels: Sequence[str]
    where: str


def read_texts(path: Path, text: str, label: str) -> Texts:
    """Return the texts and labels of a table.

    A ``.csv`` or ``.tsv`` begins with a line of column names; a ``.jsonl`` has one object a line.

    Args:
        path: The table, UTF-8.
        text: Name of the column (the key) of the text.
        label: Name of the column of the label: text, or an integer.

    Raises:
        InputError: The file cannot be read, a column is missing, or a text or label is blank.
    """
    read = _json_rows if path.suffix.lower() == ".jsonl" else _table_rows
    texts: list[str] = []
    labels: list[str] = []
    try:
        # The byte order mark that spreadsheets write would become part of the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, row in read(file, path):
                texts.append(_field(row, text, "text", path, line))
                labels.append(_field(row, label, "label", path, line))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise data_error(
            f"{path} cannot be read: {error}.", "unreadable", "write it as UTF-8 text."
        ) from error
    if not texts:
        raise data_error(
            f"{path} holds no rows; at least one of every class is needed.",
            "empty",
            "give a table with a line of column names and one line a text.",
        )
    return Texts(texts, labels, str(path))


def _table_rows(file: TextIO, path: Path) -> Iterator[tuple[int, dict[Any, Any]]]:
    before = csv.field_size_limit(_MAX_FIELD)
    try:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        for row in reader:
            yield reader.line_num, row
    finally:
        csv.field_size_limit(before)


def _json_rows(file: TextIO, path: Path) -> Iterator[tuple[int, dict[Any, Any]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise data_error(
                f"line {number} of {path} is no JSON: {error}.",
                "unreadable",
                'write one object a line, for example {"text": "...", "label": "..."}.',
            ) from None
        if not isinstance(row, dict):
            raise data_error(
                f"line {number} of {path} is a JSON {type(row).__name__}; an object was expected.",
                "unreadable",
                'write one object a line, for example {"text": "...", "label": "..."}.',
            )
        yield number, row


def _field(row: dict[Any, Any], column: str, setting: str, path: Path, line: int) -> str:
    if column not in row:
        # csv puts what stands beyond the last column under the key None.
        found = [str(name) for name in row if name is not None][:_SHOWN]
        raise data_error(
            f"line {line} of {path} has no {column!r}; it has {', '.join(found) or 'nothing'}.",
            "column",
            f'name the column, for example with --set data.{setting}="{(found or ["text"])[0]}".',
        )
    value = row[column]
    if isinstance(value, int) and not isinstance(value, bool) and setting == "label":
        value = str(value)
    if value is None:
        value = ""
    if not isinstance(value, str):
        raise data_error(
            f"{column!r} in line {line} of {path} is {value!r}; text was expected.",
            "type",
            "write it as text.",
        )
    if not is_unicode(value):
        raise data_error(
            f"the {setting} in line {line} of {path} holds half a character: {ascii(value)[:60]}.",
            "unreadable",
            "correct it; an escape in the range \\ud800 to \\udfff means nothing alone.",
        )
    if not value.strip():
        raise data_error(
            f"the {setting} in line {line} of {path} is empty.",
            "blank",
            "remove the row, or fill it in.",
        )
    return value.strip() if setting == "label" else value

"""``selection.json``: what is written is read, and nothing else is."""

from __future__ import annotations

import pytest

from edgeexit.bundle.selection import SCHEMA, ExitEntry, ExitSearch, Selection, Tried
from edgeexit.errors import BundleError

SEARCH = ExitSearch(
    "greedy", 127, (0.3, 0.5), "gain-soft", "accuracy", 900,
    (Tried((1, 8), 0.75, 0.0, 0.0), Tried((3, 8), None, None, None)),
    0.75, 0.5, 0.1, 0.0, 0.0, 2.5, 0.25,
)  # fmt: skip
SELECTION = Selection(
    SCHEMA,
    "searched",
    (ExitEntry(1, "first", True, 0.01, None, None), ExitEntry(2, "last", True)),
    SEARCH,
)


def test_what_is_written_is_read():
    assert Selection.from_json(SELECTION.as_json()) == SELECTION
    given = Selection(SCHEMA, "given", (ExitEntry(1, "a", False), ExitEntry(2, "b", True)))
    assert Selection.from_json(given.as_json()) == given
    assert given.kept == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "selection.json: has schema 2; this edgeexit reads 1"),
        ({"how": "guessed"}, "selection.json: how"),
        ({"exits": [{"number": 1}]}, r"exits\[0\].name"),
        ({"more": 1}, "is not a known key"),
    ],
)
def test_anything_else_is_refused(change, message):
    with pytest.raises(BundleError, match=message):
        Selection.from_json(SELECTION.as_json() | change)

"""How the comparison of two calibrations looks to a reader and to a script."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgeexit.cli.reply import Table
from edgeexit.cli.tables import percent

if TYPE_CHECKING:
    from edgeexit.calibrate.compare import Borrowed
    from edgeexit.calibrate.counterpart import Compared

_ORIGINS = {
    "stored": "its stored exits",
    "fitted": "not calibrated before: exits fitted here, and not stored",
    "previous": "earlier exits of this bundle",
}

_TITLE = "under a side with the other's thresholds: cost above the budget"


def compare_answer(compared: Compared | None) -> dict[str, Any] | None:
    """Return a comparison as JSON."""
    return None if compared is None else asdict(compared)


def compare_lines(compared: Compared | None) -> list[str | Table]:
    """Return what a comparison found: a line on what was compared, and a row a budget."""
    if compared is None:
        return []
    data = "the same data" if compared.same_data else "other data"
    lines: list[str | Table] = [
        "",
        f"compared with {compared.other}, {compared.precision} for {compared.device}: "
        f"{_ORIGINS[compared.origin]} ({compared.policy}, {data})",
    ]
    columns = ["budget", "leave elsewhere", "other answer", "its thresholds here", "points lost"]
    both = compared.origin != "previous"
    if both:
        columns += ["these there", "points lost there", "same thresholds"]
    rows = [
        (
            f"{point.budget:.3f}",
            percent(point.exit_flips),
            percent(point.answer_flips),
            *_borrowed(point.here),
            *((*_borrowed(point.there), percent(point.engine_flips)) if both else ()),
        )
        for point in compared.points
    ]
    return [*lines, Table(columns, rows, _TITLE)]


def _borrowed(side: Borrowed) -> tuple[str, str]:
    return f"{side.error:+.4f}", f"{side.lost:+.2f}"

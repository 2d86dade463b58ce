"""What a call draws that leaves at each exit, beside the static model."""

from __future__ import annotations

from collections.abc import Sequence

from edgeexit.report import svg
from edgeexit.report.device import Drawn, Joules
from edgeexit.report.flow_svg import opacity
from edgeexit.report.plot import ticks

_BAR, _GAP, _TOP, _BOTTOM = 22, 10, 6, 44
_ERRORS = 2.0
"""Standard errors that a whisker reaches to either side: about 95 %."""


def energy_svg(title: str, drawn: Drawn, width: int) -> str:
    """Return the chart as the text of an SVG ``width`` pixels wide.

    Bars are marginal millijoules, beyond what the idle device draws; whiskers are two standard
    errors long to either side.

    Args:
        title: What a screen reader says of it.
        drawn: What was measured, or estimated.
        width: Its width in pixels.
    """
    rows: list[tuple[str, Joules, str, float]] = [
        (f"exit {number}", each, "share", opacity(number, len(drawn.exits)))
        for number, each in enumerate(drawn.exits, 1)
    ]
    rows.append(("static model", drawn.static, "rest", 1.0))
    left, right = 12 * svg.CHARACTER + 10, width - 14.0
    tops = [1000 * (each.marginal + _ERRORS * each.error) for _, each, _, _ in rows]
    marks = ticks(0.0, max(*tops, 0.0), 6 if width > 480 else 4)
    scale = (right - left) / marks[-1]
    bottom = _TOP + len(rows) * (_BAR + _GAP)
    parts = _scale(marks, left, scale, bottom)
    word = "estimated millijoules" if drawn.estimated else "millijoules"
    parts.append(svg.text((left + right) / 2, bottom + 36, f"{word} a call", anchor="middle"))
    for place, (name, each, kind, faint) in enumerate(rows):
        y = _TOP + place * (_BAR + _GAP)
        parts.append(svg.text(left - 8, y + 15, name, anchor="end"))
        size = max(0.0, 1000 * each.marginal) * scale
        parts.append(svg.rect(left, y, size, _BAR, kind, opacity=faint))
        parts.append(_whisker(each, left, y + _BAR / 2, scale))
    return svg.picture(width, bottom + _BOTTOM, title, parts)


def _scale(marks: Sequence[float], left: float, scale: float, bottom: float) -> list[str]:
    parts = []
    for mark in marks:
        x = left + mark * scale
        parts.append(svg.line(x, _TOP - 4, x, bottom))
        parts.append(svg.text(x, bottom + 16, f"{mark:g}", "soft", anchor="middle"))
    return parts


def _whisker(each: Joules, left: float, y: float, scale: float) -> str:
    ends = [1000 * (each.marginal + sign * _ERRORS * each.error) for sign in (-1, 1)]
    low, high = (left + max(0.0, end) * scale for end in ends)
    return svg.line(low, y, high, y, "whisker")

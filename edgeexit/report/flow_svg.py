"""Where samples leave, as stacked bars: one bar for all, or one a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeexit.report import svg

_BAR, _GAP = 22, 8
_FAINTEST, _STRONGEST = 0.14, 0.5
"""Opacity of the first and of the last early exit; dark words stay readable on both."""

_LABEL_SHARE = 0.3
"""Part of the width that names may take."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: What it is of.
        shares: Fractions that leave at each exit; they add up to 1.
    """

    name: str
    shares: Sequence[float]


def flow_svg(title: str, bars: Sequence[Bar], width: int) -> str:
    """Return the chart as the text of an SVG ``width`` pixels wide.

    Args:
        title: What a screen reader says of it.
        bars: From top to bottom.
        width: Its width in pixels.
    """
    longest = max((len(bar.name) for bar in bars), default=0) * svg.CHARACTER
    left = min(longest, _LABEL_SHARE * width) + 10
    room = max(3, int((left - 10) / svg.CHARACTER))
    parts = []
    for number, bar in enumerate(bars):
        y = 4 + number * (_BAR + _GAP)
        name = svg.shortened(svg.printable(bar.name), room)
        parts.append(svg.text(left - 10, y + 15, name, anchor="end"))
        parts += _segments(bar, left, y, width - 2 - left)
    return svg.picture(width, 8 + len(bars) * (_BAR + _GAP), title, parts)


def opacity(number: int, exits: int) -> float:
    """Return how strongly exit ``number`` of ``exits`` is drawn; the last stands out.

    Args:
        number: From 1.
        exits: K.
    """
    if number == exits:
        return 1.0
    return _FAINTEST + (_STRONGEST - _FAINTEST) * (number - 1) / max(exits - 2, 1)


def _segments(bar: Bar, left: float, y: float, room: float) -> list[str]:
    parts, x, exits = [], left, len(bar.shares)
    for number, share in enumerate(bar.shares, 1):
        width = share * room
        if width > 0:
            faint = opacity(number, exits)
            parts.append(svg.rect(x, y, width, _BAR, "share", opacity=faint))
            words = f"{100 * share:.0f}"
            if width > (len(words) + 1) * svg.CHARACTER:
                kind = "on-full" if number == exits else "on-bar"
                parts.append(svg.text(x + width / 2, y + 15, words, kind, anchor="middle"))
        x += width
    return parts

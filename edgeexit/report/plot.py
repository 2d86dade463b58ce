"""Where values lie in a chart: round ticks, and the way from values to pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edgeexit.report.svg import CHARACTER, line, text

_MARK, _WORDS = 7.0, 14.0
"""Half of a mark's size, and the height of a line of words, in pixels."""


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return at least two round numbers around a range, in at most ``most`` steps and two."""
    span = max(high - low, 1e-3)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(number * step, 10) for number in range(first, max(last, first + 1) + 1))


@dataclass(frozen=True)
class Plot:
    """The part of a picture in which values are drawn; its ticks reach from end to end.

    Attributes:
        left: Its left edge in pixels.
        top: Its upper edge.
        right: Its right edge.
        bottom: Its lower edge.
        xs: Ticks of the axis to the right.
        ys: Ticks of the axis upwards.
    """

    left: float
    top: float
    right: float
    bottom: float
    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def x(self, value: float) -> float:
        """Return the pixels from the picture's left edge."""
        share = (value - self.xs[0]) / (self.xs[-1] - self.xs[0])
        return self.left + share * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the pixels from the picture's upper edge."""
        share = (value - self.ys[0]) / (self.ys[-1] - self.ys[0])
        return self.bottom - share * (self.bottom - self.top)

    def grid(self, right: str, up: str) -> list[str]:
        """Return the grid lines, their numbers and the names of the axes."""
        parts = []
        for value in self.xs:
            x = self.x(value)
            parts.append(line(x, self.top, x, self.bottom))
            parts.append(text(x, self.bottom + 18, f"{value:g}", "soft", anchor="middle"))
        for value in self.ys:
            y = self.y(value)
            parts.append(line(self.left, y, self.right, y))
            parts.append(text(self.left - 7, y + 4, f"{value:g}", "soft", anchor="end"))
        middle = (self.left + self.right) / 2
        parts.append(text(middle, self.bottom + 38, right, anchor="middle"))
        parts.append(
            f"<g transform='translate(14 {(self.top + self.bottom) / 2:.0f}) rotate(-90)'>"
            f"{text(0, 0, up, anchor='middle')}</g>"
        )
        return parts


class Labels:
    """Finds room for words beside marks, so that none covers another or leaves the plot.

    Args:
        plot: Where they must stay.
        marks: Places of all marks, in pixels.
    """

    def __init__(self, plot: Plot, marks: Iterable[tuple[float, float]]) -> None:
        self._plot = plot
        self._taken = [(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in marks]

    def place(self, x: float, y: float, words: str, *, above: bool) -> str:
        """Return words beside the mark at a place; nothing where there is no room.

        Args:
            x: Pixels from the left.
            y: Pixels from above.
            words: The words.
            above: Whether above is tried before below.
        """
        half = len(words) * CHARACTER / 2
        middle = min(max(x, self._plot.left + half), self._plot.right - half)
        over, under = (y - 11, y - 20), (y + 20, y + 29)
        rows = (*over, *under) if above else (*under, *over)
        beside = [(x + half + 11, y + 4), (x - half - 11, y + 4)]
        for center, line_y in [(middle, row) for row in rows] + beside:
            box = (center - half, line_y - _WORDS + 3, center + half, line_y + 3)
            if words and self._free(box):
                self._taken.append(box)
                return text(center, line_y, words, "soft", anchor="middle")
        return ""

    def _free(self, box: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = box
        plot = self._plot
        inside = left >= plot.left - 1 and right <= plot.right + 1
        inside = inside and top >= plot.top - _WORDS and bottom <= plot.bottom
        return inside and not any(
            left < taken[2] and right > taken[0] and top < taken[3] and bottom > taken[1]
            for taken in self._taken
        )

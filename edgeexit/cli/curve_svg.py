"""The accuracy-cost curve as an SVG: plain text, no library, readable in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 64, 60
_FONT = "font-family='system-ui, sans-serif'"
_INK, _SOFT, _GRID = "#1f2933", "#52606d", "#e4e7eb"
_LINE, _DOT, _EXIT, _STATIC = "#1a6fb5", "#d9480f", "#52606d", "#1f2933"


@dataclass(frozen=True)
class Point:
    """A place on the chart.

    Attributes:
        cost: Mean cost, a fraction of the static model's.
        quality: A fraction; drawn in percent.
        label: Written beside it; empty for none.
    """

    cost: float
    quality: float
    label: str = ""


@dataclass(frozen=True)
class Curve:
    """What the chart shows.

    Attributes:
        title: The heading.
        quality: What the upward axis shows, e.g. ``accuracy``.
        fitted: The calibrated family on the calibration set, from cheap to dear.
        measured: Operating points as measured on data the calibration never saw.
        exits: All samples at one exit, one point an exit.
        static: The static model.
    """

    title: str
    quality: str
    fitted: Sequence[Point]
    measured: Sequence[Point]
    exits: Sequence[Point]
    static: Point


def curve_svg(curve: Curve) -> str:
    """Return the chart as the text of an SVG file."""
    axes = _Axes.around([*curve.fitted, *curve.measured, *curve.exits, curve.static])
    line = " ".join(f"{axes.x(p.cost):.1f},{axes.y(p.quality):.1f}" for p in curve.fitted)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' "
        f"width='{WIDTH}' height='{HEIGHT}' role='img' aria-label='{escape(curve.title)}'>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='#ffffff'/>",
        _text(_LEFT, 26, curve.title, size=16, weight=600),
        *_legend(),
        *axes.grid(curve.quality),
        f"<polyline points='{line}' fill='none' stroke='{_LINE}' stroke-width='2.5' "
        "stroke-linejoin='round'/>",
        *(_mark(axes, p, f"fill='none' stroke='{_EXIT}' stroke-width='2'") for p in curve.exits),
        *(_mark(axes, p, f"fill='{_DOT}' stroke='#ffffff'") for p in curve.measured),
        _mark(axes, curve.static, f"fill='{_STATIC}' stroke='#ffffff'", square=True),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


@dataclass(frozen=True)
class _Axes:
    """Round ticks around the data, and the way from values to pixels."""

    costs: tuple[float, ...]
    qualities: tuple[float, ...]

    @classmethod
    def around(cls, points: Sequence[Point]) -> _Axes:
        highest = max(1.0, max(point.cost for point in points))
        percents = [100 * point.quality for point in points]
        room = 0.04 * (max(percents) - min(percents))
        return cls(_ticks(0.0, highest), _ticks(min(percents) - room, max(percents) + room))

    def x(self, cost: float) -> float:
        share = (cost - self.costs[0]) / (self.costs[-1] - self.costs[0])
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, quality: float) -> float:
        span = self.qualities[-1] - self.qualities[0]
        share = (100 * quality - self.qualities[0]) / span
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def grid(self, quality: str) -> list[str]:
        """Return the grid lines, their numbers and the names of the axes."""
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        parts = []
        for cost in self.costs:
            x = self.x(cost)
            parts.append(_line(x, _TOP, x, bottom))
            parts.append(_text(x, bottom + 20, f"{cost:g}", anchor="middle", color=_SOFT))
        for percent in self.qualities:
            y = self.y(percent / 100)
            parts.append(_line(_LEFT, y, right, y))
            parts.append(_text(_LEFT - 8, y + 4, f"{percent:g}", anchor="end", color=_SOFT))
        middle = (_TOP + bottom) / 2
        axis = "mean cost (1 = FLOPs of the static model)"
        parts.append(_text((_LEFT + right) / 2, HEIGHT - 16, axis, anchor="middle"))
        parts.append(
            f"<g transform='translate(22 {middle:.0f}) rotate(-90)'>"
            f"{_text(0, 0, f'{quality} (%)', anchor='middle')}</g>"
        )
        return parts


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Return at most eight round numbers around a range; there are at least two."""
    span = max(high - low, 1e-3)
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(number * step, 10) for number in range(first, max(last, first + 1) + 1))


def _legend() -> list[str]:
    entries = (
        (
            "calibrated",
            92,
            f"<line x1='0' x2='18' y1='-4' y2='-4' stroke='{_LINE}' stroke-width='2.5'/>",
        ),
        ("measured on the test set", 182, f"<circle cx='9' cy='-4' r='5' fill='{_DOT}'/>"),
        (
            "everything at one exit",
            168,
            f"<circle cx='9' cy='-4' r='4.5' fill='none' stroke='{_EXIT}' stroke-width='2'/>",
        ),
        ("static model", 110, f"<rect x='4' y='-9' width='10' height='10' fill='{_STATIC}'/>"),
    )
    parts, x = [], _LEFT
    for name, width, mark in entries:
        parts.append(
            f"<g transform='translate({x} 48)'>{mark}{_text(24, 0, name, color=_SOFT)}</g>"
        )
        x += width
    return parts


def _mark(axes: _Axes, point: Point, style: str, *, square: bool = False) -> str:
    x, y = axes.x(point.cost), axes.y(point.quality)
    if square:
        shape = f"<rect x='{x - 6:.1f}' y='{y - 6:.1f}' width='12' height='12' {style}/>"
    else:
        shape = f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5.5' {style}/>"
    if not point.label:
        return shape
    # The static model lies beside the last exit: its label goes above, all others below.
    if square:
        return shape + _text(x, y - 12, point.label, anchor="middle", color=_SOFT)
    return shape + _text(x + 8, y + 18, point.label, color=_SOFT)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{_GRID}'/>"


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    weight: int = 400,
    anchor: str = "start",
    color: str = _INK,
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {_FONT} font-size='{size}' font-weight='{weight}' "
        # The white rim keeps words readable where they cross a line.
        f"text-anchor='{anchor}' fill='{color}' stroke='#ffffff' stroke-width='3' "
        f"paint-order='stroke'>{escape(words)}</text>"
    )

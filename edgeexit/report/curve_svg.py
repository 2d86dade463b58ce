"""The accuracy-cost curve as an SVG, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeexit.report import svg
from edgeexit.report.plot import Labels, Plot, ticks

WIDTH, HEIGHT = 720, 440
_LEFT, _RIGHT, _BOTTOM = 56, 14, 52
_HEADED, _BARE = 64, 20
"""Room above the plot with a title and a legend, and without."""

_NARROW, _LOW = 480, 320
"""Below this width a chart is as low as this."""

_LEAST = 1.0
"""Percentage points that the upward axis spans at least: less would magnify noise."""

_KEYS = {
    "fitted": svg.line(0, 0, 18, 0, "fitted"),
    "held": svg.rect(0, -5, 18, 10, "band") + svg.line(0, 0, 18, 0, "held"),
    "measured": svg.circle(9, 0, 5, "dot"),
    "exits": svg.circle(9, 0, 4.5, "ring"),
    "static": svg.rect(4, -5, 10, 10, "square"),
}


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
class Band:
    """A place on a measured curve, with the ends of its confidence interval.

    Attributes:
        cost: Mean cost, a fraction of the static model's.
        quality: A fraction.
        low: Lower end of the interval.
        high: Its upper end.
    """

    cost: float
    quality: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """What the chart shows.

    Attributes:
        title: The heading.
        quality: What the upward axis shows, e.g. ``accuracy``.
        fitted: The calibrated family on the calibration set, from cheap to dear.
        measured: Operating points as measured on data the calibration never saw.
        exits: All samples at one exit, one point an exit.
        static: The static model, or None.
        held: The family on other data, with its confidence band, from cheap to dear.
        budget: A cost to mark, or None.
        unit: What a cost of 1 is.
        measured_name: What the legend calls ``measured``.
        held_name: What it calls ``held``.
    """

    title: str
    quality: str
    fitted: Sequence[Point]
    measured: Sequence[Point]
    exits: Sequence[Point]
    static: Point | None
    held: Sequence[Band] = ()
    budget: float | None = None
    unit: str = "FLOPs of the static model"
    measured_name: str = "measured on the test set"
    held_name: str = "measured, 95 % band"


def curve_svg(curve: Curve, width: int = WIDTH, *, alone: bool = True) -> str:
    """Return the chart as the text of an SVG.

    Args:
        curve: What it shows.
        width: Its width in pixels.
        alone: Whether it is a file of its own, with a title, a legend and its colours.
    """
    height = HEIGHT if width >= _NARROW else _LOW
    plot = _plot(curve, width, height, _HEADED if alone else _BARE)
    parts = plot.grid(f"mean cost (1 = {curve.unit})", f"{curve.quality} (%)")
    if alone:
        parts += [svg.text(_LEFT, 26, curve.title, size=16, weight=600), *_legend(curve)]
    if curve.budget is not None:
        x = plot.x(curve.budget)
        parts.append(svg.line(x, plot.top, x, plot.bottom, "budget"))
    parts += _lines(curve, plot)
    parts += _marks(curve, plot)
    return svg.picture(width, height, curve.title, parts, alone=alone)


def legend(curve: Curve) -> list[tuple[str, str]]:
    """Return what the marks mean: an SVG element 18 wide around y = 0, and its name."""
    names = {
        "fitted": "calibration set",
        "held": curve.held_name,
        "measured": curve.measured_name,
        "exits": "everything at one exit",
        "static": "static model",
    }
    return [(_KEYS[field], name) for field, name in names.items() if getattr(curve, field)]


def _plot(curve: Curve, width: int, height: int, top: int) -> Plot:
    points = [*curve.fitted, *curve.measured, *curve.exits]
    points += [] if curve.static is None else [curve.static]
    percents = [100 * point.quality for point in points]
    percents += [100 * end for band in curve.held for end in (band.low, band.high)]
    costs = [1.0, curve.budget or 0.0, *(point.cost for point in points)]
    highest = max([*costs, *(band.cost for band in curve.held)])
    low, high = min(percents, default=0.0), max(percents, default=100.0)
    room = max(0.04 * (high - low), (_LEAST - (high - low)) / 2)
    return Plot(
        _LEFT,
        top,
        width - _RIGHT,
        height - _BOTTOM,
        ticks(0.0, highest),
        ticks(low - room, high + room),
    )


def _lines(curve: Curve, plot: Plot) -> list[str]:
    parts = []
    if curve.held:
        edge = [(plot.x(band.cost), plot.y(100 * band.high)) for band in curve.held]
        edge += [(plot.x(band.cost), plot.y(100 * band.low)) for band in reversed(curve.held)]
        parts.append(svg.path(edge, "band", closed=True))
    if curve.fitted:
        fitted = [(plot.x(p.cost), plot.y(100 * p.quality)) for p in curve.fitted]
        parts.append(svg.path(fitted, "fitted"))
    if curve.held:
        held = [(plot.x(p.cost), plot.y(100 * p.quality)) for p in curve.held]
        parts.append(svg.path(held, "held"))
    return parts


def _marks(curve: Curve, plot: Plot) -> list[str]:
    """Return all marks, then as many labels as find room; a legend and a table say the rest."""
    marks = [*curve.exits, *curve.measured, *([curve.static] if curve.static else [])]
    places = {id(p): (plot.x(p.cost), plot.y(100 * p.quality)) for p in marks}
    labels = Labels(plot, places.values())
    parts = [svg.circle(*places[id(point)], 5.5, "ring") for point in curve.exits]
    words = []
    if curve.static is not None:
        x, y = places[id(curve.static)]
        parts.append(svg.rect(x - 6, y - 6, 12, 12, "square"))
        words.append(labels.place(x, y, curve.static.label, above=True))
    for point in curve.exits:
        # To the side of the lines on which the ring is.
        above = point.quality > _line_at(curve, point.cost)
        words.append(labels.place(*places[id(point)], point.label, above=above))
    for point in curve.measured:
        parts.append(svg.circle(*places[id(point)], 5.5, "dot"))
        words.append(labels.place(*places[id(point)], point.label, above=True))
    return parts + words


def _line_at(curve: Curve, cost: float) -> float:
    """Return the highest line's quality at a cost, or just before; 1 where there is no line."""
    lines: list[Sequence[Point | Band]] = [curve.fitted, curve.held]
    before = [[p.quality for p in line if p.cost <= cost] for line in lines]
    return max((qualities[-1] for qualities in before if qualities), default=1.0)


def _legend(curve: Curve) -> list[str]:
    parts, x = [], float(_LEFT)
    for key, name in legend(curve):
        parts.append(
            f"<g transform='translate({x:.0f} 46)'>{key}{svg.text(24, 4, name, 'soft')}</g>"
        )
        x += 44 + len(name) * svg.CHARACTER
    return parts

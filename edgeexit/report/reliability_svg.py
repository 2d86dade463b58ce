"""A reliability diagram: accuracy against confidence, for one exit."""

from __future__ import annotations

from collections.abc import Sequence

from edgeexit.report import svg
from edgeexit.report.plot import Plot
from edgeexit.report.reliability import FEW, Bin

SIZE = 250
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_FAINT = 0.3


def reliability_svg(title: str, bins: Sequence[Bin], quality: str) -> str:
    """Return the chart as the text of an SVG, 250 pixels wide and high.

    Bars with few samples are faint. On the diagonal an exit is as good as it believes to be.

    Args:
        title: What a screen reader says of it.
        bins: The bins.
        quality: What the upward axis shows.
    """
    plot = Plot(58, 10, SIZE - 14, SIZE - 48, _TICKS, _TICKS)
    parts = plot.grid("confidence", quality)
    for part in bins:
        if part.quality is not None:
            x, top = plot.x(part.low), plot.y(part.quality)
            faint = _FAINT if part.count < FEW else 1.0
            wide, high = plot.x(part.high) - x, plot.bottom - top
            parts.append(svg.rect(x, top, wide, high, "bar", opacity=faint))
    parts.append(svg.line(plot.left, plot.bottom, plot.right, plot.top, "ideal"))
    return svg.picture(SIZE, SIZE, title, parts)

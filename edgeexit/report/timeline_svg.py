"""The stages in the time they take, above the static model."""

from __future__ import annotations

from collections.abc import Sequence

from edgeexit.report import svg
from edgeexit.report.flow_svg import opacity
from edgeexit.report.plot import ticks

_BAR, _TOP, _ROW, _BOTTOM = 30, 26, 66, 44


def timeline_svg(
    title: str,
    stages: Sequence[float],
    overhead: float,
    static: float,
    mean: float | None,
    width: int,
) -> str:
    """Return the chart as the text of an SVG ``width`` pixels wide.

    Args:
        title: What a screen reader says of it.
        stages: Milliseconds of each stage, in order.
        overhead: Milliseconds of a call outside its stages; drawn before them.
        static: Milliseconds of a call of the static model.
        mean: Mean milliseconds at the budget in force, marked; None for no mark.
        width: Its width in pixels.
    """
    left, right = 8.0, width - 16.0
    marks = ticks(0.0, max(sum(stages) + overhead, static, mean or 0.0), 6 if width > 480 else 4)
    scale = (right - left) / marks[-1]
    bottom = _TOP + 2 * _ROW
    parts = []
    for mark in marks:
        x = left + mark * scale
        parts.append(svg.line(x, _TOP - 8, x, bottom))
        parts.append(svg.text(x, bottom + 16, f"{mark:g}", "soft", anchor="middle"))
    parts.append(svg.text((left + right) / 2, bottom + 36, "milliseconds", anchor="middle"))
    parts += _stages(stages, overhead, left, scale)
    parts.append(svg.text(left + 4, _TOP + _ROW + 4, "static model", "soft"))
    parts.append(svg.rect(left, _TOP + _ROW + 10, static * scale, _BAR, "rest"))
    if mean is not None:
        x = left + mean * scale
        parts.append(svg.line(x, _TOP - 8, x, bottom, "budget"))
        anchor = "end" if x > (left + right) / 2 else "start"
        place = x - 5 if anchor == "end" else x + 5
        words = f"mean at the budget {mean:.3g} ms"
        parts.append(svg.text(place, bottom - 6, words, anchor=anchor))
    return svg.picture(width, bottom + _BOTTOM, title, parts)


def _stages(stages: Sequence[float], overhead: float, left: float, scale: float) -> list[str]:
    y = _TOP + 10
    parts = [svg.text(left + 4, _TOP + 4, "all stages", "soft")]
    parts.append(svg.rect(left, y, overhead * scale, _BAR, "rest"))
    x = left + overhead * scale
    for number, spent in enumerate(stages, 1):
        width = spent * scale
        parts.append(svg.rect(x, y, width, _BAR, "share", opacity=opacity(number, len(stages))))
        if width > 3 * svg.CHARACTER:
            kind = "on-full" if number == len(stages) else "on-bar"
            parts.append(svg.text(x + width / 2, y + 20, str(number), kind, anchor="middle"))
        x += width
    return parts

"""The strokes of all charts: SVG as text, coloured by the classes of ``templates/chart.css``."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "templates"

CHARACTER = 6.6
"""Width of a character at 12 px, on average, in pixels; what no browser is asked for."""

_ELLIPSIS = "\u2026"


def chart_style() -> str:
    """Return the colours of the charts, for light and dark, as CSS."""
    return (TEMPLATES / "chart.css").read_text(encoding="utf-8")


def picture(
    width: float, height: float, label: str, parts: Iterable[str], *, alone: bool = False
) -> str:
    """Return a whole ``<svg>``.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        label: What a screen reader says of it.
        parts: Its elements.
        alone: Whether it is a file of its own and so brings paper and colours along.
    """
    own = ""
    if alone:
        own = f"<style>{chart_style()}</style><rect class='paper' width='100%' height='100%'/>"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:g} {height:g}' "
        f"width='{width:g}' height='{height:g}' role='img' aria-label='{attribute(label)}'>"
        f"{own}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def attribute(value: str) -> str:
    """Return a text as it may stand in an attribute."""
    return escape(printable(value), quote=True)


def printable(value: str) -> str:
    """Return a text without what does not print: controls, surrogates, marks that turn text."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value)


def shortened(value: str, characters: int) -> str:
    """Return a text of at most so many characters, cut with an ellipsis."""
    return value if len(value) <= characters else value[: max(1, characters - 1)] + _ELLIPSIS


def text(
    x: float,
    y: float,
    words: str,
    kind: str = "ink",
    *,
    anchor: str = "start",
    size: int = 12,
    weight: int = 400,
) -> str:
    """Return words; their rim in the colour of the paper keeps them readable across a line."""
    return (
        f"<text class='{kind}' x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}'>{escape(printable(words))}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    """Return a straight line."""
    return f"<line class='{kind}' x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}'/>"


def circle(x: float, y: float, radius: float, kind: str) -> str:
    """Return a circle."""
    return f"<circle class='{kind}' cx='{x:.1f}' cy='{y:.1f}' r='{radius:g}'/>"


def rect(
    x: float, y: float, width: float, height: float, kind: str, *, opacity: float = 1.0
) -> str:
    """Return a rectangle."""
    faint = "" if opacity == 1.0 else f" fill-opacity='{opacity:.2f}'"
    return (
        f"<rect class='{kind}' x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' "
        f"height='{height:.1f}'{faint}/>"
    )


def path(points: Iterable[tuple[float, float]], kind: str, *, closed: bool = False) -> str:
    """Return a line through points, or the area within."""
    tag = "polygon" if closed else "polyline"
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f"<{tag} class='{kind}' points='{places}'/>"

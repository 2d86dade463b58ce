"""The report as one HTML page: no script, no network, every string from outside escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeexit.errors import InputError
from edgeexit.report import charts
from edgeexit.report.facts import Report
from edgeexit.report.missing import BUSY
from edgeexit.report.svg import TEMPLATES, chart_style, printable, shortened

if TYPE_CHECKING:
    from jinja2 import Environment

TABLE_ROWS = 200
"""Rows of a table at most; ``--json`` has all."""

_LONGEST = 600
"""Characters of a text at most."""

_NAME = 60
"""Characters of a name in a table at most."""


def render_page(report: Report) -> str:
    """Return the page.

    Args:
        report: The numbers.

    Raises:
        InputError: jinja2 is not installed.
    """
    require_jinja()
    from markupsafe import Markup

    environment = _environment()

    def drawn(chart: charts.Chart | None) -> charts.Chart | None:
        if chart is None:
            return None
        keys = tuple((Markup(mark), name) for mark, name in chart.legend)
        return charts.Chart(Markup(chart.wide), Markup(chart.narrow), keys)

    return environment.get_template("page.html").render(
        report=report,
        rows=TABLE_ROWS,
        busy=BUSY,
        top_classes=charts.TOP_CLASSES,
        styles=[Markup(chart_style()), Markup(_page_style())],
        curve=drawn(charts.curve_chart(report)),
        flow=drawn(charts.flow_chart(report)),
        timeline=drawn(charts.timeline_chart(report)),
        energy=drawn(charts.energy_chart(report)),
        reliability=[Markup(picture) for picture in charts.reliability_charts(report)],
    )


def _page_style() -> str:
    return (TEMPLATES / "page.css").read_text(encoding="utf-8")


def require_jinja() -> None:
    """Refuse to go on without jinja2.

    Raises:
        InputError: It is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise InputError(
            "a report needs the jinja2 package, which is not installed.",
            hint="install it with: pip install 'edgeexit[report]'",
            code="report.dependency",
        ) from None


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.1f} %",
        # Adding zero turns -0.0 into 0.0.
        "points": lambda points: f"{round(points, 1) + 0.0:+.1f}",
        "count": lambda number: f"{number:,}",
        "mj": lambda joules: f"{1000 * joules:.3g}",
        "ms": lambda milliseconds: f"{milliseconds:.3f}",
        "name": lambda name: shortened(printable(name), _NAME),
    }
    return environment


def _shown(value: Any) -> Any:
    """Return a value as the page shows it; what does not print is replaced, never passed on."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return shortened(printable(value), _LONGEST)
    return value

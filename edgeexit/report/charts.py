"""The charts of a report, each at a wide and at a narrow width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeexit.report import svg
from edgeexit.report.curve_svg import Band, Curve, Point, curve_svg, legend
from edgeexit.report.energy_svg import energy_svg
from edgeexit.report.facts import CurveFacts, Report
from edgeexit.report.flow_svg import Bar, flow_svg, opacity
from edgeexit.report.operating import Place
from edgeexit.report.reliability_svg import reliability_svg
from edgeexit.report.timeline_svg import timeline_svg

WIDE, NARROW = 820, 320

TOP_CLASSES = 15
"""Classes drawn; the table has more."""

_COSTS = {
    "flops": "FLOPs of the static model",
    "latency": "latency of the static model",
    "energy": "energy of the static model",
}


@dataclass(frozen=True)
class Chart:
    """One chart at two widths; a page shows the one that fits.

    Attributes:
        wide: SVG of 820 pixels.
        narrow: SVG of 320 pixels.
        legend: What its marks mean: SVG of 24 pixels and words.
    """

    wide: str
    narrow: str
    legend: tuple[tuple[str, str], ...] = ()


def curve_chart(report: Report) -> Chart | None:
    """Return the accuracy-cost curve; None where nothing is known of it."""
    facts = report.curve
    if not facts.fitted and not facts.exits:
        return None
    curve = _curve(facts, report)
    keys = tuple((_key(mark), name) for mark, name in legend(curve))
    if facts.budget is not None:
        mark = svg.line(9, -8, 9, 8, "budget")
        keys += ((_key(mark), f"budget {report.model.budget}"),)
    return _both(lambda width: curve_svg(curve, width, alone=False), keys)


def flow_chart(report: Report) -> Chart | None:
    """Return where all samples leave, and the classes that leave latest; None without shares."""
    bars = []
    if report.flow:
        bars.append(Bar("all", [flow.share for flow in report.flow]))
    elif report.point is not None:
        bars.append(Bar("all", report.point.shares))
    bars += [Bar(flow.name, flow.shares) for flow in report.classes[:TOP_CLASSES]]
    if not bars:
        return None
    title = f"Share of samples that leave at each of {report.model.exits} exits"
    return _both(lambda width: flow_svg(title, bars, width), exit_keys(report.model.exits))


def reliability_charts(report: Report) -> list[str]:
    """Return one diagram an exit."""
    return [
        reliability_svg(
            f"Exit {each.exit}: accuracy against confidence, "
            f"expected calibration error {100 * each.ece:.1f} points",
            each.bins,
            "accuracy",
        )
        for each in report.reliability
    ]


def timeline_chart(report: Report) -> Chart | None:
    """Return the stages in time; None where nothing was timed here."""
    profile = report.here.profile
    if profile is None:
        return None
    stages = [stage.median for stage in profile.stages]
    mean = None if report.point is None else profile.mean(report.point.shares)
    static, overhead = profile.static.median, profile.overhead
    title = f"All stages {sum(stages) + overhead:.3g} ms, static model {static:.3g} ms"
    return _both(lambda width: timeline_svg(title, stages, overhead, static, mean, width), ())


def energy_chart(report: Report) -> Chart | None:
    """Return what calls draw; None where nothing was measured or estimated here."""
    drawn = report.here.energy
    if drawn is None:
        return None
    how = "estimated" if drawn.estimated else "measured"
    title = f"Energy of a call by exit, {how}; static model {1000 * drawn.static.marginal:.3g} mJ"
    return _both(lambda width: energy_svg(title, drawn, width), ())


def exit_keys(exits: int) -> tuple[tuple[str, str], ...]:
    """Return what the shades of the bars mean."""
    return tuple(
        (_key(svg.rect(0, -7, 18, 14, "share", opacity=opacity(number, exits))), f"exit {number}")
        for number in range(1, exits + 1)
    )


def _both(draw: Callable[[int], str], keys: tuple[tuple[str, str], ...]) -> Chart:
    return Chart(draw(WIDE), draw(NARROW), keys)


def _key(mark: str) -> str:
    return (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='-2 -10 24 20' width='24' height='20' "
        f"aria-hidden='true'>{mark}</svg>"
    )


def _curve(facts: CurveFacts, report: Report) -> Curve:
    point = report.point
    here = []
    if point is not None:
        here = [Point(point.place.cost, point.place.quality)]
    return Curve(
        title=_title(facts, report),
        quality=facts.quality,
        fitted=[Point(place.cost, place.quality) for place in facts.fitted],
        measured=here,
        exits=[
            Point(place.cost, place.quality, f"exit {number}")
            for number, place in enumerate(facts.exits, 1)
        ],
        static=None if facts.static is None else _static(facts.static),
        held=[_band(place) for place in facts.measured],
        budget=facts.budget,
        unit=f"{'estimated ' if facts.estimated else ''}{_COSTS[facts.kind]}",
        measured_name="at the budget" if report.data is None else "at the budget, on the data",
        held_name="on the data, with 95 % band",
    )


def _title(facts: CurveFacts, report: Report) -> str:
    words = f"{facts.quality.capitalize()} against cost"
    if facts.static is not None:
        words += f"; static model {100 * facts.static.quality:.1f} % at 1"
    if report.point is not None:
        place = report.point.place
        words += f"; at the budget {100 * place.quality:.1f} % at {place.cost:.2f}"
    return words


def _static(place: Place) -> Point:
    return Point(place.cost, place.quality, f"static {100 * place.quality:.1f} %")


def _band(place: Place) -> Band:
    low = place.quality if place.low is None else place.low
    high = place.quality if place.high is None else place.high
    return Band(place.cost, place.quality, low, high)

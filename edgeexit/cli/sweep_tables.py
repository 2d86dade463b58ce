"""How a sweep over policies and budgets looks to a reader and to a script."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgeexit.cli.reply import Table
from edgeexit.cli.tables import percent

if TYPE_CHECKING:
    from edgeexit.calibrate.sweep import Sweep, SweptPoint
    from edgeexit.calibrate.verdict import Verdict


_FITTED = {"shape": "a shape", "thresholds": "a shape and thresholds"}


def sweep_answer(found: Sweep, verdict: Verdict) -> dict[str, Any]:
    """Return a sweep as JSON."""
    from edgeexit.calibrate.family_loss import family_losses

    static = found.kind_table.static
    return {
        "cost": found.kind_table.kind,
        "estimated": found.kind_table.estimated,
        "samples": found.samples,
        "unit": found.unit,
        "units": found.units,
        "quality_kind": found.quality_kind,
        "budgets": [budget.value for budget in found.budgets],
        "policies": {name: _points(points) for name, points in found.points.items()},
        "oracle": list(found.oracle),
        "exits": [
            {"cost": cost, "relative": cost / static, "quality": row[0], "low": row[1],
             "high": row[2]}
            for cost, row in zip(found.kind_table.per_exit, found.per_exit.tolist(), strict=True)
        ],
        "one_family": {loss.what: asdict(loss) for loss in family_losses(found)},
        "left_out": list(found.left_out),
        "verdict": {**asdict(verdict), "point": verdict.point and _points((verdict.point,))[0]},
    }  # fmt: skip


def _points(points: tuple[SweptPoint, ...]) -> list[dict[str, Any]]:
    return [{**asdict(point), "budget": point.budget.value} for point in points]


def curve_table(found: Sweep) -> Table:
    """Return the default policy's curve with its band, beside the oracle."""
    name, points = next(iter(found.points.items()))
    static = found.kind_table.static
    rows = [
        (
            str(point.budget),
            f"{point.cost / static:.3f}",
            percent(point.quality),
            f"{100 * point.low:.1f} to {100 * point.high:.1f} %",
            percent(oracle),
        )
        for point, oracle in zip(points, found.oracle, strict=True)
    ]
    budget = "budget (estimated)" if found.kind_table.estimated else "budget"
    columns = (budget, "cost / static", found.quality_kind, "95 % band", "oracle")
    what = "samples" if found.unit == "sample" else "groups"
    title = f"{name}, judged on {found.units} {what} that it was not fitted on"
    return Table(columns, rows, title)


def policy_table(found: Sweep) -> Table:
    """Return all policies side by side: points of quality above the default at each budget."""
    first, *others = found.points
    stated = found.kind_table.stated
    columns = ("points above " + first, *(stated(budget.value) for budget in found.budgets))
    rows = [(name, *(_lead(point) for point in found.points[name])) for name in others]
    return Table(columns, rows, "a star marks what chance does not explain")


def _lead(point: SweptPoint) -> str:
    sure = point.lead_low > 0 or point.lead_high < 0
    return f"{point.lead:+.2f}{'*' if sure else ' '}"


def family_lines(found: Sweep) -> list[str]:
    """Return what one family for all budgets loses against a fit of its own at each."""
    from edgeexit.calibrate.family_loss import family_losses

    losses = family_losses(found)
    if not losses:
        return []
    lines = ["one family, with one shape and one knob, serves all budgets; it loses against"]
    for loss in losses:
        band = f"{loss.low:+.2f} to {loss.high:+.2f}"
        sure = f"at {', '.join(f'{value:g}' for value in loss.sure)}" if loss.sure else "nowhere"
        lines.append(
            f"  {_FITTED[loss.what]} of its own at each budget: {loss.mean:+.2f} points on "
            f"average, {loss.most:+.2f} at most (budget {loss.budget:g}, 95 % band {band}); "
            f"beyond chance {sure}"
        )
    return lines


def exit_table(found: Sweep) -> Table:
    """Return what each exit does alone, as the model cut there would."""
    static = found.kind_table.static
    rows = [
        (
            f"exit {number}",
            f"{cost / static:.3f}",
            percent(quality),
            f"{100 * low:.1f} to {100 * high:.1f} %",
        )
        for number, (cost, (quality, low, high)) in enumerate(
            zip(found.kind_table.per_exit, found.per_exit.tolist(), strict=True), 1
        )
    ]
    columns = ("cut at", "cost / static, at most", found.quality_kind, "95 % band")
    return Table(columns, rows)


def verdict_line(verdict: Verdict, quality_kind: str, *, estimated: bool = False) -> str:
    """Return what to ship; ``estimated`` costs are called so."""
    at = f"{quality_kind} {percent(verdict.quality)} at {percent(verdict.relative)} of the static "
    at += f"model's cost{' (estimated)' if estimated else ''}, "
    at += f"for at most {verdict.max_drop:g} points lost"
    if verdict.choice == "static":
        return (
            f"verdict: ship the static model: early exits save next to nothing ({at}); "
            f"{_made(verdict)}"
        )
    if verdict.choice == "cut":
        return (
            f"verdict: ship a static model cut at exit {verdict.exit}: early exits save next to "
            f"nothing beyond it ({at}); {_made(verdict)}"
        )
    budget = "" if verdict.point is None else f" at budget {verdict.point.budget}"
    line = f"verdict: ship early exits, {verdict.policy}{budget}: {at}"
    if verdict.better:
        line += f"; {verdict.better} is better there, beyond chance"
    return line


def _made(verdict: Verdict) -> str:
    return f"made by: edgeexit compile MODEL --truncate {verdict.truncate}"

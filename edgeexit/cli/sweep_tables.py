"""How a sweep over policies and budgets looks to a reader and to a script."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgeexit.cli.reply import Table
from edgeexit.cli.tables import percent

if TYPE_CHECKING:
    from edgeexit.calibrate.sweep import Sweep, SweptPoint
    from edgeexit.calibrate.verdict import Verdict


def sweep_answer(found: Sweep, verdict: Verdict) -> dict[str, Any]:
    """Return a sweep as JSON."""
    static = found.kind_table.static
    return {
        "cost": found.kind_table.kind,
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
    columns = ("budget", "cost / static", found.quality_kind, "95 % band", "oracle")
    what = "samples" if found.unit == "sample" else "groups"
    title = f"{name}, judged on {found.units} {what} that it was not fitted on"
    return Table(columns, rows, title)


def policy_table(found: Sweep) -> Table:
    """Return all policies side by side: points of quality above the default at each budget."""
    first, *others = found.points
    columns = ("points above " + first, *(str(budget) for budget in found.budgets))
    rows = [(name, *(_lead(point) for point in found.points[name])) for name in others]
    return Table(columns, rows, "a star marks what chance does not explain")


def _lead(point: SweptPoint) -> str:
    sure = point.lead_low > 0 or point.lead_high < 0
    return f"{point.lead:+.2f}{'*' if sure else ' '}"


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


def verdict_line(verdict: Verdict, quality_kind: str) -> str:
    """Return what to ship."""
    at = f"{quality_kind} {percent(verdict.quality)} at {percent(verdict.relative)} of the static "
    at += f"model's cost, for at most {verdict.max_drop:g} points lost"
    if verdict.choice == "static":
        return f"verdict: ship the static model: early exits save next to nothing ({at})"
    if verdict.choice == "cut":
        return (
            f"verdict: ship a static model cut at exit {verdict.exit}: early exits save next to "
            f"nothing beyond it ({at})"
        )
    budget = "" if verdict.point is None else f" at budget {verdict.point.budget}"
    line = f"verdict: ship early exits, {verdict.policy}{budget}: {at}"
    if verdict.better:
        line += f"; {verdict.better} is better there, beyond chance"
    return line

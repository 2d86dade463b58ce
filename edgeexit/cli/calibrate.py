"""``edgeexit calibrate``: fit the exits of a bundle to a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeexit.budget import Budget, CostKind
from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.tables import percent, shares
from edgeexit.cli.verb import PATH, bundle_argument, target_option, verb

if TYPE_CHECKING:
    from edgeexit.bundle.exits import ExitFamily
    from edgeexit.calibrate.frontier import OperatingPoint


@verb("calibrate", short_help="Fit the exits of a bundle to a budget on labelled data.")
@bundle_argument
@click.option("--data", required=True, help="Labelled .npz, image folder or module:function.")
@click.option("--budget", type=Budget.parse, metavar="0.5|8ms", help="Mean cost to calibrate at.")
@click.option("--policy", default="gain-soft", show_default=True, help="How exits are chosen.")
@click.option(
    "--cost",
    type=click.Choice(("flops", "latency")),
    default="flops",
    show_default=True,
    help="Cost to save where there is no budget.",
)
@click.option("-o", "--output", type=PATH, help="File to write; default: exits.json in BUNDLE.")
@click.option(
    "--max-drop",
    type=float,
    default=0.5,
    show_default=True,
    help="Points the recommendation may lose.",
)
@target_option
def command(
    reply: Reply,
    *,
    bundle: Path,
    data: str,
    budget: Budget | None,
    policy: str,
    cost: CostKind,
    max_drop: float,
    output: Path | None,
    target: str | None,
) -> None:
    """Fit the exits of BUNDLE on labelled data and store them in it.

    The stored family serves every budget; --budget says for which one it is fitted best, and is
    refused where the model cannot meet it. Without it the cheapest point that loses at most
    --max-drop percentage points is recommended.
    """
    from edgeexit.calibrate.calibrate import calibrate_exits

    kind: CostKind = budget.kind if budget else cost
    with reply.progress() as progress:
        calibration = calibrate_exits(
            bundle,
            data,
            budget,
            policy=policy,
            cost=kind,
            max_drop=max_drop,
            target=target,
            output=output,
            progress=lambda done, total: progress("recording exits", done / total),
        )
    family, point = calibration.family, calibration.point
    reply.answer(
        {
            "bundle": str(bundle),
            "file": str(calibration.file),
            "policy": family.policy,
            "cost": kind,
            "samples": family.samples,
            "quality_kind": family.quality_kind,
            "per_exit_quality": [float(value) for value in family.per_exit_quality],
            "recommended": calibration.recommended,
            "point": point_answer(point),
            "table": [point_answer(row) for row in calibration.table],
        },
        f"calibrated {bundle} with {family.policy} on {family.samples} samples",
        point_table(calibration.table, family),
        _verdict(point, family, recommended=calibration.recommended),
    )


def point_answer(point: OperatingPoint) -> dict[str, Any]:
    """Return an operating point as JSON."""
    return {
        "budget": point.budget.value,
        "cost": point.cost,
        "relative": point.relative,
        "quality": point.quality,
        "drop": point.drop,
        "shares": list(point.shares),
    }


def point_table(points: tuple[OperatingPoint, ...], family: ExitFamily) -> Table:
    """Return one row a budget: what it costs, how good it is, and where samples leave."""
    rows = [
        (
            str(point.budget) if point.budget.kind == "latency" else f"{point.budget.value:.3f}",
            f"{point.relative:.3f}",
            percent(point.quality),
            f"{point.drop:+.2f}",
            shares(point.shares),
        )
        for point in points
    ]
    return Table(
        ("budget", "cost / static", family.quality_kind, "points lost", "exit shares"), rows
    )


def _verdict(point: OperatingPoint, family: ExitFamily, *, recommended: bool) -> str:
    what = "recommended" if recommended else "at"
    budget = str(point.budget) if point.budget.kind == "latency" else f"{point.budget.value:.3g}"
    return (
        f"{what} budget {budget}: {family.quality_kind} {percent(point.quality)} at "
        f"{percent(point.relative)} of the static model's cost ({point.drop:+.2f} points lost)"
    )

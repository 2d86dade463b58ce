"""``edgeexit calibrate``: fit the exits of a bundle to a budget."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeexit.budget import Budget, CostKind
from edgeexit.cli import batch_lines
from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.tables import percent, shares
from edgeexit.cli.tail_lines import refuse_sweep, tail_lines
from edgeexit.cli.verb import PATH, bundle_argument, target_option, verb

if TYPE_CHECKING:
    from edgeexit.bundle.batch_costs import BatchMode
    from edgeexit.bundle.certificate import Certificate
    from edgeexit.bundle.exits import ExitFamily
    from edgeexit.calibrate.frontier import OperatingPoint


POLICY_NAMES = (
    "gain-soft", "opt-soft", "opt", "geometric", "eero", "single", "margin", "entropy", "energy",
    "patience", "q-exit", "jei-dnn",
)  # fmt: skip
"""Named here so that ``--help`` need not load the calibrator; a test holds them to its registry."""


ESTIMATED = (
    "energy is estimated from processor time, not measured: no meter here could be used "
    "(edgeexit profile --energy says why)"
)


def budgets(value: Any) -> tuple[Budget, ...]:
    """Parse budgets separated by commas, e.g. ``0.3,0.5`` or ``8ms,10ms`` or ``30mJ,40mJ``."""
    if isinstance(value, tuple):
        return value
    return tuple(Budget.parse(text) for text in str(value).split(",") if text.strip())


@verb("calibrate", short_help="Fit the exits of a bundle to a budget on labelled data.")
@bundle_argument
@click.option("--data", required=True, help="Labelled .npz, image folder or module:function.")
@click.option(
    "--budget", type=Budget.parse, metavar="0.5|8ms|40mJ", help="Mean cost to calibrate at."
)
@click.option(
    "--policy",
    default="gain-soft",
    show_default=True,
    help=f"How exits are chosen: {', '.join(POLICY_NAMES)}.",
)
@click.option(
    "--cost",
    type=click.Choice(("flops", "latency", "energy")),
    default="flops",
    show_default=True,
    help="Cost to save where there is no budget.",
)
@click.option(
    "--p95", type=Budget.parse, metavar="12ms", help="Time that 95 % of the calls may take."
)
@batch_lines.batch_options
@click.option("-o", "--output", type=PATH, help="File to write; default: exits.json in BUNDLE.")
@click.option(
    "--max-drop",
    type=float,
    show_default="0.5",
    help="Points the recommendation may lose; with --guarantee certified.",
)
@click.option(
    "--guarantee",
    type=float,
    metavar="0.95",
    help="Certify, with this confidence, that mean cost stays within the budget.",
)
@click.option(
    "--iid",
    is_flag=True,
    help="Samples without groups were drawn independently; a guarantee needs to know.",
)
@click.option(
    "--certify",
    type=budgets,
    metavar="0.3,0.5",
    default=(),
    help="Further budgets to certify. Without any: every tenth of the static model.",
)
@click.option("--unlabelled", help="Further data that set the knob of a guarantee.")
@click.option("--label-free", is_flag=True, help="Ignore labels: agree with the last exit.")
@click.option(
    "--sweep", is_flag=True, help="Compare all policies over all budgets, and write nothing."
)
@click.option(
    "--compare",
    type=PATH,
    metavar="OTHER",
    help="Another bundle of the model, or earlier exits, to compare with on the same data.",
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
    p95: Budget | None,
    batch: int | None,
    mode: BatchMode | None,
    max_drop: float | None,
    guarantee: float | None,
    iid: bool,
    certify: tuple[Budget, ...],
    unlabelled: str | None,
    label_free: bool,
    sweep: bool,
    output: Path | None,
    compare: Path | None,
    target: str | None,
) -> None:
    """Fit the exits of BUNDLE on labelled data and store them in it.

    The stored family serves every budget; --budget says for which one it is fitted best, and is
    refused where the model cannot meet it. Without it the cheapest point that loses at most
    --max-drop percentage points is recommended.

    --p95 takes the dearest point at which 95 % of single calls are forecast to keep a time on this
    machine, in place of a mean.

    --batch N holds a budget in ms, now of a sample, in batches of N that run as --mode says:
    compacted, or whole where all samples wait for the last.

    --guarantee certifies budgets for data like these: it needs an array `group` that says which
    samples belong together, or --iid. The runtime then keeps to the certified budgets.

    --sweep shows what each policy does at each budget on data it was not fitted on, what an
    oracle could do, and whether early exits are worth it at all.

    --compare OTHER, a bundle of the same model in another precision or for another engine, shows
    which samples leave elsewhere there, and what its thresholds would cost here.
    """
    from edgeexit.calibrate.calibrate import calibrate_exits
    from edgeexit.cli.compare_tables import compare_answer, compare_lines

    kind: CostKind = budget.kind if budget else "latency" if p95 else cost
    if sweep:
        refuse_sweep(p95)
        batch_lines.refuse_sweep(batch, mode)
        _sweep(reply, bundle, data, kind, max_drop, target, label_free=label_free)
        return
    if batch is not None and kind == "latency":
        reply.log("batch sizes are timed first where this device has no profile of them: 4 s each")
    if kind == "energy":
        reply.log("energy is measured first where this device has no profile of it: 30 s or more")
    with reply.progress() as progress:
        calibration = calibrate_exits(
            bundle,
            data,
            budget,
            policy=policy,
            cost=kind,
            p95=p95,
            batch=batch,
            mode=mode,
            max_drop=max_drop,
            guarantee=guarantee,
            iid=iid,
            certify=certify,
            unlabelled=unlabelled,
            label_free=label_free,
            target=target,
            output=output,
            compare=compare,
            progress=lambda done, total: progress("recording exits", done / total),
        )
    family, point = calibration.family, calibration.point
    certificate = family.certificate
    reply.answer(
        {
            "bundle": str(bundle),
            "file": str(calibration.file),
            "policy": family.policy,
            "cost": kind,
            "batch": batch_lines.batch_answer(family.costs[kind]),
            "estimated": family.costs[kind].estimated,
            "samples": family.samples,
            "quality_kind": family.quality_kind,
            "per_exit_quality": [float(value) for value in family.per_exit_quality],
            "recommended": calibration.recommended,
            "certificate": None if certificate is None else certificate_answer(certificate),
            "p95": None if family.tail is None else asdict(family.tail),
            "point": point_answer(point),
            "table": [point_answer(row) for row in calibration.table],
            "compared": compare_answer(calibration.compared),
        },
        f"calibrated {bundle} with {family.policy} on {family.samples} samples",
        point_table(calibration.table, family),
        *([ESTIMATED] if family.costs[kind].estimated else []),
        _verdict(point, family, recommended=calibration.recommended),
        *_discrete_lines(point, family),
        *tail_lines(family),
        *batch_lines.batch_lines(family.costs[kind]),
        *([] if certificate is None else certified_lines(certificate, family, point)),
        *compare_lines(calibration.compared),
    )


def _sweep(
    reply: Reply,
    bundle: Path,
    data: str,
    cost: CostKind,
    max_drop: float | None,
    target: str | None,
    *,
    label_free: bool,
) -> None:
    """Answer with the comparison of all policies over all budgets."""
    from edgeexit.calibrate.calibrate import sweep_exits
    from edgeexit.calibrate.frontier import DEFAULT_MAX_DROP
    from edgeexit.cli.sweep_tables import (
        curve_table,
        exit_table,
        family_lines,
        policy_table,
        sweep_answer,
        verdict_line,
    )

    with reply.progress() as progress:
        found, verdict = sweep_exits(
            bundle,
            data,
            cost=cost,
            max_drop=DEFAULT_MAX_DROP if max_drop is None else max_drop,
            label_free=label_free,
            target=target,
            progress=lambda done, total: progress("recording exits", done / total),
        )
    reply.answer(
        {"bundle": str(bundle), **sweep_answer(found, verdict)},
        curve_table(found),
        policy_table(found),
        *family_lines(found),
        exit_table(found),
        verdict_line(verdict, found.quality_kind, estimated=found.kind_table.estimated),
    )


def certificate_answer(certificate: Certificate) -> dict[str, Any]:
    """Return a certificate as JSON."""
    dropless = certificate.max_drop is None
    return {
        "confidence": certificate.confidence,
        "unit": certificate.unit,
        "units": certificate.units,
        "unlabelled": certificate.unlabelled,
        "budgets": [
            {
                "budget": entry.budget.value,
                "position": entry.position,
                **({} if dropless else {"drop": certificate.keeps_drop(entry.position)}),
            }
            for entry in certificate.budgets
        ],
        "max_drop": certificate.max_drop,
    }


def certified_lines(
    certificate: Certificate, family: ExitFamily, point: OperatingPoint
) -> list[str]:
    """Return what is guaranteed, and for which data."""
    sure = f"{100 * certificate.confidence:g} %"
    entry = certificate.at(point.budget, family.stated)
    what = "samples" if certificate.unit == "sample" else "groups"
    lines = [
        f"guaranteed with {sure} confidence, for data like these {certificate.units} independent "
        f"{what}: mean cost at most {family.stated(entry.budget)}"
    ]
    if certificate.max_drop is not None:
        kept = "" if certificate.keeps_drop(entry.position) else "not certified at this budget: "
        lines.append(
            f"{kept}at most {certificate.max_drop:g} points of {family.quality_kind} lost against "
            "the last exit"
        )
    return lines


def point_answer(point: OperatingPoint) -> dict[str, Any]:
    """Return an operating point as JSON."""
    return {
        "budget": point.budget.value,
        "cost": point.cost,
        "relative": point.relative,
        "quality": point.quality,
        "drop": point.drop,
        "shares": list(point.shares),
        "p95": point.p95,
    }


def point_table(points: tuple[OperatingPoint, ...], family: ExitFamily) -> Table:
    """Return one row a budget: what it costs, how good it is, and where samples leave."""
    rows = [
        (
            f"{point.budget.value:.3f}" if point.budget.kind == "flops" else str(point.budget),
            f"{point.relative:.3f}",
            percent(point.quality),
            f"{point.drop:+.2f}",
            shares(point.shares),
            *([] if point.p95 is None else [f"{point.p95:.4g} ms"]),
        )
        for point in points
    ]
    estimated = any(family.costs[point.budget.kind].estimated for point in points)
    budget = "budget (estimated)" if estimated else "budget"
    columns = [budget, "cost / static", family.quality_kind, "points lost", "exit shares"]
    columns += [] if points[0].p95 is None else ["95 % of calls"]
    return Table(columns, rows)


def _discrete_lines(point: OperatingPoint, family: ExitFamily) -> list[str]:
    """Return a line on what a budget comes to where there are few settings."""
    if not family.discrete:
        return []
    settings = len({round(float(cost), 9) for cost in family.curve(point.budget.kind)})
    cost = family.stated(Budget(point.cost, point.budget.kind))
    return [
        f"{family.policy} has {settings} settings here; the nearest that costs no more than "
        f"{point.budget} costs {cost}"
    ]


def _verdict(point: OperatingPoint, family: ExitFamily, *, recommended: bool) -> str:
    what = "recommended" if recommended else "at"
    kind = point.budget.kind
    budget = f"{point.budget.value:.3g}" if kind == "flops" else family.stated(point.budget)
    return (
        f"{what} budget {budget}: {family.quality_kind} {percent(point.quality)} at "
        f"{percent(point.relative)} of the static model's cost ({point.drop:+.2f} points lost)"
    )

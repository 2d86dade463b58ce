"""``edgeexit report``: what a bundle does, as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from edgeexit.budget import Budget
from edgeexit.cli.reply import Reply
from edgeexit.cli.verb import PATH, bundle_argument, target_option, verb


@verb("report", short_help="Show what a bundle does as one HTML page.")
@bundle_argument
@click.option("--data", help="Labelled .npz, image folder or module:function to measure on.")
@click.option(
    "-o", "--output", type=PATH, default="report.html", show_default=True, help="File to write."
)
@click.option(
    "--budget", type=Budget.parse, metavar="0.5|8ms|40mJ", help="Default: the calibrated one."
)
@click.option(
    "--exits-file", type=PATH, help="File of the calibrated exits; default: the bundle's own."
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20_000,
    show_default=True,
    help="Most samples of the data, taken evenly spaced.",
)
@target_option
def command(
    reply: Reply,
    *,
    bundle: Path,
    data: str | None,
    output: Path,
    budget: Budget | None,
    exits_file: Path | None,
    limit: int,
    target: str | None,
) -> None:
    """Write a page on BUNDLE: accuracy against cost, exits taken, reliability, time, parity.

    With --data (best with labels, and best not the calibration set) the page is measured on it;
    without, it shows what calibration stored. It needs no network, and says what is not measured.
    """
    from edgeexit.bundle.atomic import write_atomic
    from edgeexit.report.gather import gather_report
    from edgeexit.report.page import render_page, require_jinja

    # Before the data are run: it spares the user the wait.
    require_jinja()
    with reply.progress() as progress:
        report = gather_report(
            bundle,
            data,
            budget=budget,
            target=target,
            exits=exits_file,
            limit=limit,
            progress=progress,
        )
    write_atomic(output, render_page(report).encode("utf-8"))
    reply.answer(
        report.as_json() | {"page": str(output)},
        report.verdict.sentence,
        f"page: {output}",
        f"not measured, or only as stated there: {len(report.missing)}",
    )

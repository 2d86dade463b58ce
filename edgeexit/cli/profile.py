"""``edgeexit profile``: measure every stage of a bundle on this device."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.verb import bundle_argument, target_option, verb

if TYPE_CHECKING:
    from edgeexit.runtime.profile import BatchProfile
    from edgeexit.runtime.timing import TimeStats


@verb("profile", short_help="Measure each stage of a bundle on this device.")
@bundle_argument
@click.option(
    "--batch", "batches", type=int, multiple=True, metavar="N", help="Batch sizes beside 1."
)
@click.option("--seconds", type=float, default=4.0, show_default=True, help="Time a batch size.")
@click.option("--threads", type=int, help="Threads an inference; default: the device file's.")
@target_option
def command(
    reply: Reply,
    *,
    bundle: Path,
    batches: tuple[int, ...],
    seconds: float,
    threads: int | None,
    target: str | None,
) -> None:
    """Measure the stages of BUNDLE and the static model in turn, on the bundle's golden inputs.

    What was measured is kept for this device: calibrating in milliseconds goes by it.
    """
    from edgeexit.runtime.profile import keep_profile, measure_profile
    from edgeexit.runtime.runtime import Runtime

    runtime = Runtime(bundle, target=target, threads=threads, exits=False)
    with runtime, reply.progress() as progress:
        progress("measuring", 0.0)
        measured = measure_profile(runtime, batches, seconds)
        keep_profile(runtime, measured)
        progress("measuring", 1.0)
    reply.answer(
        {
            "bundle": str(bundle),
            "costs": asdict(measured.cost_table()),
        }
        | asdict(measured),
        f"{measured.fingerprint}, load {measured.load:.2f} a core",
        *(_table(batch) for batch in measured.batches),
    )


def _table(batch: BatchProfile) -> Table:
    rows = [_row(f"stage {number}", times) for number, times in enumerate(batch.stages, start=1)]
    rows += [_row("call, all stages", batch.call), _row("static model", batch.static)]
    columns = ("batch " + str(batch.batch), "median ms", "min", "p90", "p99", "count")
    return Table(columns, rows)


def _row(name: str, times: TimeStats) -> tuple[str, ...]:
    milliseconds = (times.p50, times.minimum, times.p90, times.p99)
    return (name, *(f"{value:.3f}" for value in milliseconds), str(times.count))

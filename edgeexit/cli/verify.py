"""``edgeexit verify``: integrity, and parity of the stages with the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from edgeexit.bundle.bundle import Bundle, Golden
from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.tables import percent
from edgeexit.cli.verb import bundle_argument, target_option, verb
from edgeexit.datasets import load_dataset
from edgeexit.errors import BundleError

if TYPE_CHECKING:
    from edgeexit.parity import EngineParity, ParityReport


@verb("verify", short_help="Check a bundle's integrity and its parity with the whole model.")
@bundle_argument
@click.option("--data", help="Data to compare on; default: the bundle's golden inputs.")
@click.option("--limit", type=click.IntRange(1), default=512, show_default=True)
@target_option
def command(
    reply: Reply, *, bundle: Path, data: str | None, limit: int, target: str | None
) -> None:
    """Check BUNDLE: every byte, its golden outputs, and its stages against the whole model.

    Without --target all engines of this machine are compared. Exit code 5 where a byte differs,
    or where answers differ by more than the precision explains.
    """
    from edgeexit.parity import check_parity
    from edgeexit.runtime.golden import check_golden
    from edgeexit.runtime.machine import checking_device
    from edgeexit.runtime.runtime import Runtime

    opened = Bundle.open(bundle)
    reply.log(f"integrity: {len(opened.manifest.files)} files as sealed")
    opened.exits()
    golden = opened.golden()
    inputs, labels = golden.inputs, None
    if data is not None:
        dataset = load_dataset(
            data, inputs=opened.manifest.inputs, limit=limit, classes=opened.classes
        )
        inputs, labels = dataset.inputs, dataset.labels
    checked_on = target or checking_device(opened)
    if target is None and checked_on != opened.manifest.device:
        reply.log(
            f"{opened.manifest.device}: its engines are built on the device; checked on "
            f"{checked_on} here"
        )
    with Runtime(opened, target=checked_on, exits=False) as runtime:
        check_golden(runtime)
    reply.log("golden outputs: as compiled")
    report = check_parity(opened, inputs, labels=labels, device=target, others=target is None)
    _require_parity(report, golden, opened.manifest.precision)
    reply.answer(
        {
            "bundle": str(bundle),
            "digest": opened.digest,
            "files": len(opened.manifest.files),
            "parity": report.as_json(),
        },
        f"{bundle}: {len(opened.manifest.files)} files as sealed, golden outputs as compiled",
        _table(report),
        *(f"left out: {name}: {reason}" for name, reason in report.skipped.items()),
        *_accuracy(report),
    )


def _require_parity(report: ParityReport, golden: Golden, precision: str) -> None:
    """Raise where stages and whole differ by more than the precision explains."""
    from edgeexit.runtime.golden import TOLERANCES

    scale = max(
        float(np.abs(array).max())
        for outputs in golden.outputs.values()
        for array in list(outputs.values())[:1]
    )
    allowed = TOLERANCES[precision] * scale
    for engine in report.engines:
        worst = _worst(engine)
        # Written so that NaN fails too.
        if not worst <= allowed:
            raise BundleError(
                f"stages and whole model differ by {worst:.3g} on {engine.device} "
                f"({engine.engine}), more than the {allowed:.3g} that {precision} explains.",
                hint="compile the bundle again, and report this if it stays.",
                code="bundle.parity",
            )


def _worst(engine: EngineParity) -> float:
    exits = (*engine.batch_1, *engine.random, *engine.batches)
    return float(np.max([engine.exits_taken, *(found.max_abs_difference for found in exits)]))


def _table(report: ParityReport) -> Table:
    rows = [
        (
            engine.device,
            engine.engine,
            "yes" if all(found.identical for found in engine.batch_1) else "no",
            f"{_worst(engine):.3g}",
            str(sum(found.flips for found in (*engine.batch_1, *engine.batches))),
        )
        for engine in report.engines
    ]
    columns = ("device", "engine", "identical at batch 1", "largest difference", "class flips")
    title = f"stages against the whole model on {report.samples} inputs"
    return Table(columns, rows, title, text_columns=("engine",))


def _accuracy(report: ParityReport) -> list[str]:
    if report.accuracy is None:
        return []
    return ["accuracy by exit: " + ", ".join(percent(value) for value in report.accuracy)]

"""``edgeexit tune``: a pretrained backbone and labelled data in, a multi-exit model out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.tables import percent
from edgeexit.cli.verb import PATH, verb
from edgeexit.errors import InputError

if TYPE_CHECKING:
    from edgeexit.tuned import TunedFolder


@verb("tune", short_help="Tune a backbone with exits on labelled data.")
@click.argument("config", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="The folder to write.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="TABLE.KEY=VALUE",
    help="Replace a setting of CONFIG, e.g. training.lr=5e-4.",
)
@click.option("--epochs", type=int, metavar="N", help="Short for --set training.epochs=N.")
@click.option("--seed", type=int, metavar="N", help="Short for --set training.seed=N.")
@click.option(
    "--resume/--restart",
    default=True,
    show_default=True,
    help="Go on where a run in OUTPUT stopped, or begin anew.",
)
def command(
    reply: Reply,
    *,
    config: Path,
    output: Path,
    overrides: tuple[str, ...],
    epochs: int | None,
    seed: int | None,
    resume: bool,
) -> None:
    """Tune a backbone as CONFIG, a TOML file, says.

    OUTPUT becomes a folder whose model `edgeexit compile` takes as it is. Run the command again
    after an interruption: it goes on from the last checkpoint.
    """
    from edgeexit.dmpo.config_file import override, read_config
    from edgeexit.dmpo.finished import finished_run
    from edgeexit.dmpo.packages import tune_packages
    from edgeexit.tuned import TunedFolder

    settings = _settings(overrides)
    settings |= {} if epochs is None else {"training.epochs": str(epochs)}
    settings |= {} if seed is None else {"training.seed": str(seed)}
    run = override(read_config(config), settings)
    folder = finished_run(run, output) if resume else None
    ran = folder is None
    if folder is None:
        with tune_packages(), reply.progress(one_bar=True) as progress:
            from edgeexit.dmpo.tuning import tune

            progress("reading the data", 0.0)
            tune(run, output, resume=resume, progress=progress)
            progress("done", 1.0)
    if os.environ.get("RANK", "0") == "0":  # torchrun and accelerate number their processes so
        folder = folder or TunedFolder.open(output)
        first = "tuned" if ran else "finished before (--restart tunes anew):"
        reply.answer(
            _answer(folder) | {"ran": ran},
            f"{first} {output}, {_summary(folder)}",
            *_blocks(folder),
        )


def _settings(overrides: tuple[str, ...]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for entry in overrides:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip():
            raise InputError(
                f"--set {entry!r} is not TABLE.KEY=VALUE.",
                hint="write for example --set training.epochs=5.",
                code="tune.set-syntax",
            )
        settings[key.strip()] = value.strip()
    return settings


def _answer(folder: TunedFolder) -> dict[str, Any]:
    """Return what ``tune`` answers with ``--json``."""
    record = folder.record
    return {
        "folder": str(folder.path),
        "digest": folder.digest,
        "name": record.name,
        "method": record.method,
        "classes": list(record.classes),
        "after": list(record.after),
        "parity": dataclasses.asdict(record.parity),
        **folder.report,
    }


def _summary(folder: TunedFolder) -> str:
    report: Mapping[str, Any] = folder.report
    trained, whole = report["parameters_trained"], report["parameters"]
    why = {"epochs": "all epochs done", "patience": "no longer improving"}[report["stopped"]]
    return (
        f"{folder.record.method}, epoch {report['best_epoch']} of {len(report['history'])} kept "
        f"({why}), {trained:,} of {whole:,} parameters tuned in {report['seconds']:.0f} s"
    )


def _blocks(folder: TunedFolder) -> tuple[str | Table, ...]:
    history: list[dict[str, Any]] = folder.report["history"]  # type: ignore[assignment]
    # Without validation data there is no accuracy, and no column for it.
    exits = [f"exit {n}" for n in range(1, len(history[0]["accuracy"]) + 1)]
    rows = [
        (
            str(epoch["epoch"]),
            f"{epoch['loss']:.4f}",
            *(percent(share) for share in epoch["accuracy"]),
            f"{epoch['seconds']:.0f}",
        )
        for epoch in history
    ]
    parity = folder.record.parity
    several = len(folder.record.exits) > 1
    return (
        Table(("epoch", "loss", *exits, "seconds"), rows, "validation accuracy"),
        f"exported: logits within {max(parity.max_abs_difference):.1e} of torch, "
        f"{sum(parity.flips)} of {parity.samples} samples differ",
        *([f"next: edgeexit compile {folder.path}"] if several else []),
    )

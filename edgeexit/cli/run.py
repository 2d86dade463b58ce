"""``edgeexit run``: answer inputs with a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.tables import shares
from edgeexit.cli.verb import PATH, bundle_argument, target_option, verb
from edgeexit.datasets import load_dataset
from edgeexit.errors import InputError
from edgeexit.image_folder import read_image

if TYPE_CHECKING:
    from edgeexit.runtime.result import Result


@verb("run", short_help="Answer inputs with a bundle.")
@bundle_argument
@click.option("--input", "source", required=True, type=PATH, help="An .npz, .npy or image file.")
@click.option("--budget", type=Budget.parse, metavar="0.5|8ms|40mJ", help="Mean cost to spend.")
@target_option
def command(
    reply: Reply, *, bundle: Path, source: Path, budget: Budget | None, target: str | None
) -> None:
    """Answer the samples in an .npz (inputs by name), .npy or image file with BUNDLE.

    Without --budget the bundle answers at the budget it was calibrated at; a bundle without
    calibration sends every sample to its last exit.
    """
    from edgeexit.runtime.runtime import Runtime

    opened = Bundle.open(bundle)
    inputs = _read(source, opened)
    with Runtime(opened, budget, target=target) as runtime:
        result, words = runtime(inputs), runtime.stats().budget
    samples = _samples(result, opened.classes)
    counts = np.bincount(result.exits, minlength=len(opened.manifest.stages) + 1)[1:]
    reply.answer(
        {
            "bundle": str(bundle),
            "budget": words,
            "cost": result.cost,
            "exit_shares": [float(share) for share in counts / counts.sum()],
            "samples": samples,
        },
        Table(
            ("sample", "label", "class", "exit", "score", "cost"),
            [
                (
                    str(sample["sample"]),
                    str(sample["label"]),
                    sample["class"] or "",
                    str(sample["exit"]),
                    "" if sample["score"] is None else f"{sample['score']:.3f}",
                    f"{sample['cost']:.3f}",
                )
                for sample in samples
            ],
            text_columns=("class",),
        ),
        f"{len(samples)} samples, mean cost {result.cost:.3f} of the static model's FLOPs, "
        f"exits {shares(counts / counts.sum())}",
    )


def _read(source: Path, bundle: Bundle) -> dict[str, Any]:
    specs = bundle.manifest.inputs
    if not source.is_file():
        raise InputError(
            f"{source} does not exist or is no file.",
            hint="give an .npz (inputs by name), .npy or image file.",
            code="input.data-missing",
        )
    if source.suffix == ".npz":
        return dict(load_dataset(source, inputs=specs).inputs)
    if source.suffix != ".npy":
        return {specs[0].name: read_image(source, specs)}
    try:
        array = np.load(source, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{source} cannot be read: {error}.",
            hint="write it with numpy.save(path, array).",
            code="input.data-unreadable",
        ) from error
    # A single array feeds a model with a single input; the check of keys says so otherwise.
    return dict(load_dataset({"x": array}, inputs=specs).inputs)


def _samples(result: Result, classes: tuple[str, ...] | None) -> list[dict[str, Any]]:
    rows = zip(result.labels, result.exits, result.scores, result.costs, strict=True)
    return [
        {
            "sample": index,
            "label": np.asarray(label).tolist(),
            "class": classes[int(label)] if classes and np.ndim(label) == 0 else None,
            "exit": int(exit_number),
            # The last exit has no gate and so no score.
            "score": float(score) if np.isfinite(score) else None,
            "cost": float(cost),
        }
        for index, (label, exit_number, score, cost) in enumerate(rows)
    ]

"""``calibrate --batch``: its options, what it says, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgeexit.bundle.exits import CostTable

Command = TypeVar("Command", bound=Callable[..., None])

_FATES = {
    "compacted": "samples that leave make room",
    "whole": "all wait for the last of them",
}


def batch_options(command: Command) -> Command:
    """Add ``--batch`` and ``--mode`` to a command."""
    for option in (
        click.option(
            "--mode",
            type=click.Choice(("single", "compacted", "whole")),
            help="How calls run that the ms are held in. Default: single; with --batch compacted.",
        ),
        click.option(
            "--batch", type=click.IntRange(1), metavar="N", help="Hold the ms in batches of N."
        ),
    ):
        command = option(command)
    return command


def batch_answer(table: CostTable) -> dict[str, Any] | None:
    """Return the batches that a cost table holds in as JSON; None for single calls."""
    return None if table.batch is None else {"mode": table.batch.mode, "size": table.batch.size}


def batch_lines(table: CostTable) -> list[str]:
    """Return in which batches the costs hold; nothing where they are those of single calls."""
    if table.batch is None:
        return []
    return [
        f"ms are those of a sample in {table.batch}: {_FATES[table.batch.mode]}. They hold where "
        "calls are such batches of samples drawn independently; cost / static is against the "
        "static model in the same batches"
    ]


def refuse_sweep(batch: int | None, mode: str | None) -> None:
    """Refuse batches where all policies are swept.

    Raises:
        InputError: There are any.
    """
    if batch is not None or mode is not None:
        from edgeexit.calibrate.batches import refuse_beside_batch

        refuse_beside_batch(["--sweep"])

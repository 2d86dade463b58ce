"""``edgeexit inspect``: what a bundle holds, stage by stage."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeexit.budget import CostKind
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import ExitFamily
from edgeexit.bundle.selection import read_selection
from edgeexit.cli.batch_lines import batch_answer
from edgeexit.cli.reply import Reply
from edgeexit.cli.selection_tables import selection_lines
from edgeexit.cli.tables import count, manifest_answer, stage_table
from edgeexit.cli.verb import bundle_argument, verb


@verb("inspect", short_help="Show the stages of a bundle: FLOPs, parameters, boundary, gate.")
@bundle_argument
def command(reply: Reply, *, bundle: Path) -> None:
    """Show the stages of BUNDLE and what its exits were calibrated to.

    The boundary column gives the bytes that cross to the next stage for one sample, and in how
    many tensors; the cost of an exit is a fraction of the static model's FLOPs.
    """
    opened = Bundle.open(bundle)
    manifest, family = opened.manifest, opened.exits()
    inputs = ", ".join(
        f"{spec.name} {spec.dtype}({', '.join(str(dim) for dim in spec.shape)})"
        for spec in manifest.inputs
    )
    compaction = "rows that exit leave the batch"
    if not manifest.compaction.allowed:
        compaction = f"samples run one by one: {manifest.compaction.reason}"
    selection = read_selection(opened)
    exits = f"{len(manifest.stages)} exits" if len(manifest.stages) > 1 else "1 exit"
    reply.answer(
        manifest_answer(opened)
        | {
            "calibration": _calibration(family),
            "selection": selection.as_json() if selection else None,
        },
        f"{manifest.name}: {exits}, {manifest.precision} for "
        f"{manifest.device}, {count(manifest.static_flops)}FLOPs",
        f"input: {inputs}",
        f"batches: {compaction}",
        stage_table(manifest),
        *selection_lines(selection),
        f"calibration: {_calibration_text(family, one=len(manifest.stages) == 1)}",
        f"digest: {opened.digest}",
    )


def _calibration(family: ExitFamily | None) -> dict[str, Any] | None:
    if family is None:
        return None
    return {
        "policy": family.policy,
        "budget": family.stated(family.budget) if family.budget else None,
        "samples": family.samples,
        "quality_kind": family.quality_kind,
        "per_exit_quality": [float(value) for value in family.per_exit_quality],
        "bounds": {
            kind: [float(family.curve(kind)[0]), float(family.curve(kind)[-1])]
            for kind in family.costs
        },
        "p95": None if family.tail is None else asdict(family.tail),
        "batches": {kind: batch_answer(table) for kind, table in family.costs.items()},
        "estimated": [kind for kind, table in family.costs.items() if table.estimated],
    }


def _bounds(family: ExitFamily, kind: CostKind) -> str:
    curve = family.curve(kind)
    low, high = (float(f"{end:.3g}") for end in (curve[0], curve[-1]))
    return f"{kind} {low:g} to {family.costs[kind].stated(high)}"


def _calibration_text(family: ExitFamily | None, *, one: bool) -> str:
    if one:
        return "none; one exit has nothing to calibrate"
    if family is None:
        return "none; every sample goes to the last exit until `edgeexit calibrate` has run"
    bounds = ", ".join(_bounds(family, kind) for kind in family.costs)
    at = f" at {family.stated(family.budget)}" if family.budget else ""
    if family.tail is not None:
        at += f", for {100 * family.tail.level:g} % of calls within {family.tail.limit:g} ms,"
    return f"{family.policy}{at} on {family.samples} samples; budgets: {bounds}"

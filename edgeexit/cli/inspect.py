"""``edgeexit inspect``: what a bundle holds, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import ExitFamily
from edgeexit.cli.reply import Reply
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
    reply.answer(
        manifest_answer(opened) | {"calibration": _calibration(family)},
        f"{manifest.name}: {len(manifest.stages)} exits, {manifest.precision} for "
        f"{manifest.device}, {count(manifest.static_flops)}FLOPs",
        f"input: {inputs}",
        f"batches: {compaction}",
        stage_table(manifest),
        f"calibration: {_calibration_text(family)}",
        f"digest: {opened.digest}",
    )


def _calibration(family: ExitFamily | None) -> dict[str, Any] | None:
    if family is None:
        return None
    return {
        "policy": family.policy,
        "budget": str(family.budget) if family.budget else None,
        "samples": family.samples,
        "quality_kind": family.quality_kind,
        "per_exit_quality": [float(value) for value in family.per_exit_quality],
        "bounds": {
            kind: [float(family.curve(kind)[0]), float(family.curve(kind)[-1])]
            for kind in family.costs
        },
    }


def _calibration_text(family: ExitFamily | None) -> str:
    if family is None:
        return "none; every sample goes to the last exit until `edgeexit calibrate` has run"
    bounds = ", ".join(
        f"{kind} {family.curve(kind)[0]:.3g} to {family.curve(kind)[-1]:.3g}"
        for kind in family.costs
    )
    at = f" at {family.budget}" if family.budget else ""
    return f"{family.policy}{at} on {family.samples} samples; budgets: {bounds}"

"""How manifests, operating points and parity reports look to a reader and to a script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeexit.bundle.boundary import boundary_bytes
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.specs import Manifest, StageSpec, TensorSpec
from edgeexit.cli.reply import Table


def manifest_answer(bundle: Bundle) -> dict[str, Any]:
    """Return what ``compile`` and ``inspect`` answer with ``--json``."""
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.folder),
        "digest": bundle.digest,
        "name": manifest.name,
        "device": manifest.device,
        "precision": manifest.precision,
        "inputs": [_tensor(spec) for spec in manifest.inputs],
        "classes": list(manifest.classes) if manifest.classes else None,
        "static": {"flops": manifest.static_flops, "params": manifest.static_params},
        "compaction": {
            "allowed": manifest.compaction.allowed,
            "reason": manifest.compaction.reason,
        },
        "stages": [
            _stage(stage, cost)
            for stage, cost in zip(manifest.stages, manifest.flops_costs, strict=True)
        ],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _stage(stage: StageSpec, cost: float) -> dict[str, Any]:
    return {
        "number": stage.number,
        "exit": stage.exit.name,
        "flops": stage.flops,
        "params": stage.params,
        "cost": cost,
        "boundary": [_tensor(spec) for spec in stage.carried_out],
        "boundary_bytes": boundary_bytes(stage),
        "gate": stage.gate.name if stage.gate else None,
        "gate_flops": stage.gate.flops if stage.gate else 0,
    }


def stage_table(manifest: Manifest) -> Table:
    """Return one row a stage, and one for the static model."""
    rows = [
        (
            str(stage.number),
            stage.exit.name,
            count(stage.flops + (stage.gate.flops if stage.gate else 0)),
            f"{cost:.3f}",
            count(stage.params),
            f"{boundary_bytes(stage):,} B in {len(stage.carried_out)}" if stage.carried_out else "",
            stage.gate.name if stage.gate else "",
        )
        for stage, cost in zip(manifest.stages, manifest.flops_costs, strict=True)
    ]
    rows.append(
        ("static", "", count(manifest.static_flops), "1.000", count(manifest.static_params), "", "")
    )
    columns = ("stage", "exit", "FLOPs", "cost of exit", "params", "boundary", "gate")
    return Table(columns, rows, text_columns=("exit", "gate"))


def count(number: float) -> str:
    """Return a count with three digits and a unit: ``23.1 M``."""
    for factor, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}" if number < 999.5 * factor else f"{number:.3g}"
    return f"{number:g}"


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def shares(values: Iterable[float]) -> str:
    """Return exit shares as whole percentages: ``48/30/12/10 %``."""
    return "/".join(f"{100 * value:.0f}" for value in values) + " %"


def parity_lines(parity: Mapping[str, Any], precision: str) -> list[str]:
    """Return what a parity report (``parity.json``) says, a line a comparison."""
    lines = [f"parity on {parity['samples']} {parity['inputs']} inputs:"]
    for engine in parity["engines"]:
        exits = [*engine["batch_1"], *engine["random"], *engine["batches"]]
        same = "bit-identical to" if all(found["identical"] for found in exits) else "against"
        lines.append(f"  {engine['device']}: stages {same} the whole model{_largest(exits)}")
        if not engine["agrees"]:
            lines.append(
                f"  WARNING: {engine['engine']} answers this model differently from ONNX Runtime, "
                f"beyond what {precision} explains{_largest(engine['golden'])}"
            )
    compared = parity.get("vs_float")
    if compared:
        found = _largest(compared["exits"]) or ": no difference"
        lines.append(f"  {precision} against float{found}")
        for name, key in (("float", "float_accuracy"), (precision, "accuracy")):
            if compared[key]:
                exits_text = ", ".join(percent(value) for value in compared[key])
                lines.append(f"  accuracy by exit, {name}: {exits_text}")
    return lines + [f"  left out: {name}: {why}" for name, why in parity["skipped"].items()]


def _largest(exits: Sequence[Mapping[str, Any]]) -> str:
    difference = max(found["max_abs_difference"] for found in exits)
    flips = ", ".join(str(found["flips"]) for found in exits)
    return "" if difference == 0 else f": largest difference {difference:.3g}, class flips {flips}"

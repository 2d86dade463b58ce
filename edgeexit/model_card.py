"""The model card: a bundle's ``README.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeexit.bundle.recipe import RECIPE, Recipe
from edgeexit.bundle.specs import Manifest


def model_card(manifest: Manifest, parity: Mapping[str, Any], recipe: Recipe | None = None) -> str:
    """Return a page in Markdown that says what a bundle holds and what was measured on it."""
    rows = [
        f"| {stage.number} | {stage.exit.name} | {cost:.4f} | {stage.params:,} |"
        for stage, cost in zip(manifest.stages, manifest.flops_costs, strict=True)
    ]
    inputs = [f"- `{spec.name}`: {spec.dtype} {list(spec.shape)}" for spec in manifest.inputs]
    exits = f"{len(rows)} exits" if len(rows) > 1 else "one exit, without gates"
    budget = ", budget=0.5" if len(rows) > 1 else ""
    lines = [
        f"# {manifest.name}",
        "",
        f"An edgeexit bundle: {exits}, {manifest.precision}, compiled for "
        f"`{manifest.device}` by edgeexit {manifest.provenance.edgeexit} on "
        f"{manifest.provenance.created} from `{manifest.provenance.source}`.",
        "",
        "## Inputs",
        "",
        *inputs,
        "",
        "## Exits",
        "",
        "Cost is cumulative, in FLOPs, as a fraction of the whole model without early exits "
        f"({manifest.static_flops:,} FLOPs, {manifest.static_params:,} parameters).",
        "",
        "| stage | exit | cost | parameters |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        "## Parity",
        "",
        f"Measured at compile time on {parity['samples']} {parity['inputs']} inputs; the numbers "
        "are in `parity.json`.",
        "",
    ]
    for engine in parity["engines"]:
        largest = max(e["max_abs_difference"] for e in engine["batch_1"])
        flips = sum(e["flips"] for e in engine["batch_1"])
        lines.append(
            f"- {engine['engine']}: stages against the whole graph differ by at most "
            f"{largest:.3g}, {flips} flips of the top class."
        )
    if parity.get("vs_float"):
        flips = [e["flips"] for e in parity["vs_float"]["exits"]]
        lines.append(
            f"- {manifest.precision} against float32: {flips} flips of the top class, exit by exit."
        )
    if recipe is not None:
        int8 = sum(len(graph.int8_layers) for graph in recipe.graphs)
        lines += [
            "",
            f"Prepared for `{manifest.device}`; its engines are built on the device: "
            "`edgeexit build path/to/this/folder`. "
            f"`{RECIPE}` says how, and which layers are expected in int8"
            f" ({int8} in all graphs together).",
        ]
    lines += ["", "## Use", "", "```python", "import edgeexit", ""]
    lines += [f'runtime = edgeexit.Runtime("path/to/this/folder"{budget})', "```", ""]
    return "\n".join(lines)

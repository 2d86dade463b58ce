"""Are the stages' logits the whole graph's, bit for bit? Read off the compiler's own report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.benchmarks.models import CNN, DEMO, PRECISIONS, VIT, open_bundle
from tests.benchmarks.rows import Effort, Row

TITLE = "Stages against the whole graph: logits"
NOTE = (
    "Equal bit for bit at every exit, at batch 1 (engines compiled for it) and in whole batches "
    "(dynamic engines); largest difference of a logit, and samples whose top class differs. "
    "ONNX Runtime has no bf16 here."
)

_REQUIRED = {("cpu", "f32"), ("x86", "f32"), ("x86", "bf16"), ("x86", "int8")}


def run(effort: Effort) -> Iterator[Row]:
    """Yield a row a model, precision, device and shape mode."""
    for model in (DEMO, CNN, VIT):
        for precision in PRECISIONS:
            report: Any = open_bundle(model, precision, effort.tell).parity()
            for engine in report["engines"]:
                for mode, words in (("batch_1", "batch 1"), ("batches", "batches")):
                    exits = engine[mode]
                    device = engine["device"]
                    yield _row(
                        f"parity.{model.name}.{device}.{precision}.{mode}",
                        f"{model.title}, {engine['engine']}, {precision}, {words}",
                        exits,
                        report,
                        required=(device, precision) in _REQUIRED,
                    )


def _row(
    name: str, what: str, exits: list[dict[str, Any]], report: dict[str, Any], *, required: bool
) -> Row:
    same = all(found["identical"] for found in exits)
    largest = max(found["max_abs_difference"] for found in exits)
    flips = max(found["flips"] for found in exits)
    count = report["samples"]
    return Row(
        name,
        what,
        "identical" if same else f"differs by {largest:.3g}; {flips} flips of {count}",
        {
            "identical": same,
            "max_abs_difference": largest,
            "flips": flips,
            "samples": count,
            "inputs": report["inputs"],
            "identical_exits": [exit_["exit"] for exit_ in exits if exit_["identical"]],
        },
        wanted="identical" if required else None,
        met=same if required else None,
    )

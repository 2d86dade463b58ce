"""Which convolutions and matrix products OpenVINO itself says it executes in int8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeexit.bundle.specs import BATCH
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.plan import Plan
from tests.benchmarks.models import CNN, DEMO, VIT, Model, open_bundle
from tests.benchmarks.rows import Effort, Row

TITLE = "Layers in int8, in OpenVINO's own report"
NOTE = (
    "Layers of the compiled stages (batch 1) and the precision they execute in. *Weighted*: "
    "convolutions and products with constant weights. *Activations*: products of two activations, "
    "which the report shows where they are not fused away; attention's usually are, and the "
    "report then shows a `Subgraph`. The last column of the value is how many products the "
    "stages' ONNX files have in all."
)

WEIGHTED = ("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected")
"""OpenVINO's layer types with constant weights; it calls a product with weights FullyConnected."""

ACTIVATIONS = ("MatMul",)
INT8 = ("i8", "u8")

_ONNX_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Operations = Sequence[tuple[str, str]]


def run(effort: Effort) -> Iterator[Row]:
    """Yield two rows a model."""
    for model in (CNN, DEMO, VIT):
        effort.tell(f"int8 layers: {model.name}")
        yield from _rows(model, effort)


def _rows(model: Model, effort: Effort) -> Iterator[Row]:
    bundle = open_bundle(model, "int8", effort.tell)
    machine, plan = Machine.of(bundle), Plan.of(bundle.manifest)
    told: list[Operations] = []
    products = 0
    for stage in plan.stages:
        file = bundle.file(stage.file)
        engine = machine.open(file, stage.fed, stage.produced, {BATCH: 1}, plan.native)
        told.append(engine.operations())
        engine.close()
        products += _onnx_products(file)
    for kind, types in (("weighted", WEIGHTED), ("activations", ACTIVATIONS)):
        counts = [count_int8(operations, types) for operations in told]
        done, every = (sum(column) for column in zip(*counts, strict=True))
        stages = ", ".join(f"{a}/{b}" for a, b in counts)
        others = Counter(
            precision for ops in told for layer, precision in ops
            if layer in types and precision not in INT8
        )  # fmt: skip
        rest = f"; others in {', '.join(others)}" if others else ""
        yield Row(
            f"int8-layers.{model.name}.{kind}",
            f"{model.title}: {kind}",
            f"{done} of {every} (by stage {stages}){rest}; ONNX products {products}",
            {"int8": done, "layers": every, "by_stage": stages, "onnx_products": products},
            wanted="all" if every else None,
            met=done == every if every else None,
        )


def count_int8(operations: Operations, types: Sequence[str]) -> tuple[int, int]:
    """Return how many layers of the given types execute in int8, and how many there are."""
    precisions = [precision for layer, precision in operations if layer in types]
    return sum(precision in INT8 for precision in precisions), len(precisions)


def _onnx_products(path: Path) -> int:
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return sum(node.op_type in _ONNX_PRODUCTS for node in graph.node)

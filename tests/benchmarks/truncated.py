"""What cutting a model at an exit saves over leaving there: gates, earlier heads, stages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from edgeexit.bundle.bundle import Bundle
from edgeexit.compiler import compile_model
from edgeexit.runtime.runtime import Runtime
from tests.benchmarks.measure import Comparison, interleave, spread_text
from tests.benchmarks.models import CNN, DEMO, Model, open_bundle, source_of
from tests.benchmarks.rows import Effort, Row

TITLE = "A model cut at an exit ÷ leaving there, batch 1"
NOTE = (
    "Whole calls of the runtime: the bundle that `compile --truncate K` makes, over the bundle "
    "with all exits forced to exit K. Ratios are `median [95 % interval], of minima`; beside them "
    "a second copy of the bundle with all exits over the first. FLOPs is the same ratio, counted. "
    "What the ratio is below 1 is what a verdict that takes leaving at K for the cut model misses."
)

PRECISION = "f32"
CONFIGURATIONS = (
    (DEMO, "x86"),
    (DEMO, "cpu"),
    (CNN, "x86"),
    (CNN, "cpu"),
)
CUTS = (1, 2, 3, 4)
"""The models have four exits."""

_CUT, _STAGED, _AGAIN = "cut", "staged", "again"


def run(effort: Effort) -> Iterator[Row]:
    """Yield the ratio at every exit of every model and configuration."""
    for model, device in CONFIGURATIONS:
        staged = open_bundle(model, PRECISION, effort.tell)
        for number in CUTS[:1] if effort.quick else CUTS:
            effort.tell(f"cut model: {model.name} {device} exit {number}")
            with tempfile.TemporaryDirectory() as folder:
                cut = _cut(model, number, Path(folder))
                yield _row(model, device, staged, cut, number, effort)


def _cut(model: Model, number: int, folder: Path) -> Bundle:
    return compile_model(
        source_of(model),
        folder / "cut.eex",
        target="x86",
        precision=PRECISION,
        truncate=number,
    )


def _row(
    model: Model, device: str, staged: Bundle, cut: Bundle, number: int, effort: Effort
) -> Row:
    sample = model.random_inputs(1)
    with ExitStack() as stack:
        alone = stack.enter_context(Runtime(cut, target=device))
        first, second = (
            stack.enter_context(Runtime(staged, target=device, exits=False)) for _ in range(2)
        )
        contenders = {
            _CUT: lambda: alone(sample),
            _STAGED: lambda: first.run_to(sample, number),
            _AGAIN: lambda: second.run_to(sample, number),
        }
        times = interleave(contenders, seconds=effort.seconds(6.0), least=effort.least(50))
    found = Comparison.of(times[_CUT], times[_STAGED], times[_AGAIN])
    counted = cut.manifest.static_flops / staged.manifest.static_flops
    flops = counted / staged.manifest.flops_costs[number - 1]
    return Row(
        f"truncated.{model.name}.{device}.{PRECISION}.exit-{number}",
        f"{model.title}, {device} {PRECISION}, exit {number}",
        f"{found.text()}; FLOPs {flops:.3f}; staged {spread_text(times[_STAGED])}",
        {**found.as_values(), "flops": flops},
        same=found.same_text(),
    )

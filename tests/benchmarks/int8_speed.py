"""How much faster int8 is than f32 and bf16 on OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from edgeexit.runtime.machine import Machine
from tests.benchmarks.chains import open_whole
from tests.benchmarks.measure import Comparison, interleave, spread_text
from tests.benchmarks.models import CNN, DEMO, PRECISIONS, VIT, Model, open_bundle
from tests.benchmarks.rows import Effort, Row

TITLE = "int8 against f32 and bf16 on OpenVINO"
NOTE = (
    "Times of the static model in f32 or bf16 over those in int8, batch 1, pre-bound: how many "
    "times faster int8 is. The limit was set for processors with AMX (`amx_int8` among the "
    "features below); without it AVX-512 VNNI computes int8."
)

LIMIT = 3.5


def run(effort: Effort) -> Iterator[Row]:
    """Yield the ratios of all models."""
    for model in (VIT, CNN, DEMO):
        effort.tell(f"int8 speed: {model.name}")
        yield from _rows(model, effort)


def _rows(model: Model, effort: Effort) -> Iterator[Row]:
    inputs = model.random_inputs(1)
    with ExitStack() as stack:
        contenders = {}
        for name in (*PRECISIONS, "again"):
            bundle = open_bundle(model, "int8" if name == "again" else name, effort.tell)
            machine = Machine.of(bundle)
            contenders[name] = stack.enter_context(open_whole(bundle, machine, inputs, "static"))
        seconds = effort.seconds(25.0 if model is VIT else 5.0)
        times = interleave(contenders, seconds=seconds, least=effort.least(30))
    features = machine.info.features
    for precision in ("f32", "bf16"):
        found = Comparison.of(times[precision], times["int8"], times["again"])
        wanted = model is VIT and precision == "f32"
        yield Row(
            f"int8-speed.{model.name}.{precision}",
            f"{model.title}: {precision} ÷ int8",
            f"{found.text()}; {precision} {spread_text(times[precision])}, "
            f"int8 {spread_text(times['int8'])}",
            {**found.as_values(), "amx_int8": "amx_int8" in features, "features": list(features)},
            same=found.same_text(),
            wanted=f"≥ {LIMIT} (with AMX)" if wanted else None,
            met=found.ratio.median >= LIMIT if wanted else None,
        )

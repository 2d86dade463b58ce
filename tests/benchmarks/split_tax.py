"""What cutting a model into stages costs: all stages in order over the whole graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from edgeexit.runtime.machine import Machine
from tests.benchmarks.chains import open_bare_call, open_chain, open_whole
from tests.benchmarks.measure import Comparison, Excess, Times, interleave, spread_text
from tests.benchmarks.models import CNN, DEMO, VIT, Model, open_bundle, without_gates
from tests.benchmarks.rows import Effort, Row

TITLE = "Split tax: all stages in order ÷ the whole graph with all exits"
NOTE = (
    "Pre-bound calls of the same engine, precision and shape mode (batch 1 compiled for it, "
    "batch 8 dynamic). Ratios are `median [95 % interval], of minima`; beside them the whole graph "
    "against a second copy of itself. *normalised* is the median ratio over that, with its "
    "interval. Stages are shown without their gates and with them. For the CNN what counts is the "
    "time above the whole, held against K - 1 bare engine calls (a graph of one ReLU)."
)

LIMIT = 1.02
EXITS = 4
"""All models have four."""

CONFIGURATIONS = (("x86", "f32"), ("x86", "bf16"), ("x86", "int8"), ("cpu", "f32"))
BATCHES = (1, 8)

_BARE, _GATED, _WHOLE, _AGAIN, _CALL = "bare", "gated", "whole", "again", "call"


def run(effort: Effort) -> Iterator[Row]:
    """Yield the ratios of every model, configuration and batch size."""
    for model in (CNN, DEMO, VIT):
        for device, precision in CONFIGURATIONS:
            for batch in BATCHES:
                if model is VIT and batch > 1 and effort.quick:
                    continue
                effort.tell(f"split tax: {model.name} {device} {precision} batch {batch}")
                times = _measure(model, device, precision, batch, effort)
                yield from _rows(model, device, precision, batch, times)


def _measure(
    model: Model, device: str, precision: str, batch: int, effort: Effort
) -> dict[str, Times]:
    bundle = open_bundle(model, precision, effort.tell)
    machine = Machine.of(bundle, device)
    inputs = model.random_inputs(batch)
    with ExitStack() as stack:
        contenders = {
            _BARE: stack.enter_context(open_chain(without_gates(bundle), machine, inputs)),
            _GATED: stack.enter_context(open_chain(bundle, machine, inputs)),
            _WHOLE: stack.enter_context(open_whole(bundle, machine, inputs, "whole")),
            _AGAIN: stack.enter_context(open_whole(bundle, machine, inputs, "whole")),
            _CALL: stack.enter_context(open_bare_call(machine)),
        }
        heavy = model is VIT and batch > 1
        seconds = effort.seconds(14.0 if model is VIT else 5.0)
        return interleave(contenders, seconds=seconds, least=effort.least(10 if heavy else 30))


def _rows(
    model: Model, device: str, precision: str, batch: int, times: dict[str, Times]
) -> Iterator[Row]:
    name = f"{model.name}.{device}.{precision}.batch-{batch}"
    where = f"{model.title}, {device} {precision}, batch {batch}"
    for kind, words in ((_BARE, "without gates"), (_GATED, "with gates")):
        found = Comparison.of(times[kind], times[_WHOLE], times[_AGAIN])
        wanted = model is VIT and batch == 1
        yield Row(
            f"split-tax.{name}.{kind}",
            f"{where}, {words}",
            f"{found.text()}; normalised {found.normalised:.3f} "
            f"[{found.low:.3f}, {found.high:.3f}]; whole {spread_text(times[_WHOLE])}",
            found.as_values(),
            same=found.same_text(),
            wanted=f"lower end, normalised, ≤ {LIMIT}" if wanted else None,
            met=found.low <= LIMIT if wanted else None,
        )
    if model is CNN and batch == 1:
        yield _above_whole(name, where, times)
    if model is VIT:
        return  # a gate's microseconds drown in its milliseconds
    gates = Excess.of(times[_GATED], times[_BARE], parts=EXITS - 1)
    yield Row(
        f"split-tax.{name}.gate",
        f"{where}: a gate's own cost",
        gates.text(),
        {"median_us": gates.median, "of_minima_us": gates.of_minima},
    )


def _above_whole(name: str, where: str, times: dict[str, Times]) -> Row:
    """Hold the time above the whole against K - 1 bare calls, less what the A/A pair differs by."""
    above = Excess.of(times[_BARE], times[_WHOLE])
    same = Excess.of(times[_AGAIN], times[_WHOLE])
    calls = (EXITS - 1) * float(np.median(times[_CALL])) * 1000
    return Row(
        f"split-tax.{name}.above-whole",
        f"{where}: time above the whole, without gates",
        f"{above.text()}; 3 bare calls {calls:.1f} µs",
        {
            "median_us": above.median,
            "of_minima_us": above.of_minima,
            "low_us": above.low,
            "high_us": above.high,
            "same_median_us": same.median,
            "same_high_us": same.high,
            "bare_calls_us": calls,
        },
        same=same.text(),
        wanted="lower end, less the A/A median, ≤ 3 bare engine calls",
        met=above.low - same.median <= calls,
    )

"""What the runtime adds to a stage: a call of the runtime less the engine calls in it."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexit.runtime.runtime import Runtime
from tests.benchmarks.chains import chain, open_bare_call
from tests.benchmarks.measure import Excess, interleave, spread_text
from tests.benchmarks.models import DEMO, TINY, Model, open_bundle
from tests.benchmarks.rows import Effort, Row

TITLE = "Runtime cost a stage"
NOTE = (
    "One sample through all stages by `Runtime.__call__` (checks, copies, gates' decisions, the "
    "result), less the pre-bound calls of the same stages with the gates in them, divided by K; "
    "`median [95 % interval], of minima`. The tiny model has 4 stages of one 16 x 16 product."
)

LIMIT_US = 15.0

_CALL, _STAGES, _AGAIN, _BARE = "call", "stages", "again", "bare"


def run(effort: Effort) -> Iterator[Row]:
    """Yield the cost on both engines."""
    for model in (TINY, DEMO):
        for device in ("x86", "cpu"):
            effort.tell(f"runtime cost: {model.name} {device}")
            yield _row(model, device, effort)


def _row(model: Model, device: str, effort: Effort) -> Row:
    bundle = open_bundle(model, "f32", effort.tell)
    sample = model.random_inputs(1)
    with (
        Runtime(bundle, target=device, exits=False) as runtime,
        open_bare_call(runtime.machine) as bare,
    ):
        # The worker goes back to the pool, so that calls run on this very lane.
        with runtime.lane(sample) as lane:
            stages = chain(lane)
        times = interleave(
            {_CALL: lambda: runtime(sample), _STAGES: stages, _AGAIN: stages, _BARE: bare},
            seconds=effort.seconds(4.0),
            least=effort.least(200),
            most=20_000,
            warm=50,
        )
        count = runtime.plan.exits
    cost = Excess.of(times[_CALL], times[_STAGES], count)
    same = Excess.of(times[_AGAIN], times[_STAGES], count)
    return Row(
        f"call-cost.{model.name}.{device}",
        f"{model.title}, {device} f32",
        f"{cost.text()}; stages {spread_text(times[_STAGES])}; bare call "
        f"{spread_text(times[_BARE])}",
        {
            "median_us": cost.median,
            "low_us": cost.low,
            "high_us": cost.high,
            "of_minima_us": cost.of_minima,
            "same_median_us": same.median,
        },
        same=same.text(),
        wanted=f"≤ {LIMIT_US:g} µs",
        met=cost.median <= LIMIT_US,
    )

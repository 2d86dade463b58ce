"""Single calls, batches that shrink and batches that wait, measured in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.batch_costs import BatchMode
from edgeexit.datasets import Dataset
from edgeexit.runtime.bench import Arrays, interleave, rows_of
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.timing import Ratio
from edgeexit.runtime.whole import WholeModel

_MODES: tuple[BatchMode, ...] = ("single", "compacted", "whole")
_STATIC, _STATIC_SINGLE = "static", "static single"


@dataclass(frozen=True)
class ModeSpeed:
    """What a sample takes in one mode at one batch size.

    Attributes:
        mode: How the samples of a batch run: ``single`` one call each.
        batch: Samples answered at a time.
        milliseconds: Mean time a sample.
        static: Mean time a sample of the static model; one call each beside ``single``.
        ratio: The one over the other, paired a round.
    """

    mode: BatchMode
    batch: int
    milliseconds: float
    static: float
    ratio: Ratio


def compare_modes(
    runtime: Runtime, dataset: Dataset, *, batches: Sequence[int] = (1, 32), rounds: int = 40
) -> tuple[ModeSpeed, ...]:
    """Measure a runtime at its present budget in every mode that it can run a batch in.

    All modes answer the same samples in turn. A batch that waits runs all samples through the same
    stages, up to the exit of the hardest one, which an untimed call tells. Batches larger than
    run at once, and those of models whose rows must not leave, are run in single calls only.

    Args:
        runtime: The runtime.
        dataset: The samples, at least as many as the largest batch.
        batches: Batch sizes.
        rounds: Rounds a batch size.

    Raises:
        InputError: The data do not fit the model.
    """
    largest = max(runtime.machine.buckets) if runtime.plan.compacts else 1
    return tuple(
        speed
        for batch in batches
        for speed in _speeds(runtime, dataset, batch, rounds, at_once=1 < batch <= largest)
    )


def _speeds(
    runtime: Runtime, dataset: Dataset, batch: int, rounds: int, *, at_once: bool
) -> list[ModeSpeed]:
    with ExitStack() as stack:
        one, many = (
            WholeModel.of_bundle(runtime.bundle, runtime.machine, batch=size) for size in (1, batch)
        )
        for model in (one, many):
            stack.callback(model.close)

        def draw(order: np.random.Generator) -> Mapping[str, Callable[[], object]]:
            rows = order.integers(0, len(dataset), batch)
            singles = [rows_of(runtime, dataset, [row]) for row in rows]
            calls: dict[str, Callable[[], object]] = {
                "single": partial(_each, runtime, singles),
                _STATIC_SINGLE: partial(_each, one, singles),
            }
            if at_once:
                inputs = rows_of(runtime, dataset, rows)
                hardest = int(runtime(inputs).exits.max())
                calls["compacted"] = partial(runtime, inputs)
                calls["whole"] = partial(runtime.run_to, inputs, hardest)
                calls[_STATIC] = partial(many, inputs)
            return calls

        times = interleave(draw, batch, rounds)
    return [
        _speed(mode, batch, times[mode], times[_STATIC_SINGLE if mode == "single" else _STATIC])
        for mode in _MODES
        if mode in times
    ]


def _each(model: Callable[[Arrays], object], inputs: Sequence[Arrays]) -> None:
    for one in inputs:
        model(one)


def _speed(
    mode: BatchMode, batch: int, spent: npt.NDArray[np.float64], static: npt.NDArray[np.float64]
) -> ModeSpeed:
    ratio = Ratio.of(spent.sum(axis=1), static.sum(axis=1))
    return ModeSpeed(mode, batch, float(spent.mean()) / batch, float(static.mean()) / batch, ratio)

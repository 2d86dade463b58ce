"""edgeexit against the whole static model, in turn, on the same engine and precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.datasets import Dataset
from edgeexit.errors import InputError
from edgeexit.runtime.lane import take_samples
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.timing import NANOSECONDS_A_MILLISECOND, Ratio, TimeStats
from edgeexit.runtime.whole import WholeModel

Arrays = dict[str, npt.NDArray[Any]]
OpenModel = Callable[[Machine, int], WholeModel]
"""Opens a baseline on a machine at a fixed batch size."""

Draw = Callable[[np.random.Generator], Mapping[str, Callable[[], object]]]
"""Draws samples and returns by name the calls that answer them."""

EDGEEXIT, STATIC, AGAIN = "edgeexit", "static", "static again"

_ROUND_SAMPLES = 16
"""Samples a round at batch 1: enough that a round holds the mix of exits."""

_WARM_ROUNDS = 2


@dataclass(frozen=True)
class Quality:
    """What one contender answers on the whole data set.

    Attributes:
        name: The contender.
        accuracy: Fraction of right labels, or None without labels.
        agreement: Fraction of labels that are the static model's.
    """

    name: str
    accuracy: float | None
    agreement: float


@dataclass(frozen=True)
class Speed:
    """How fast one contender is at one batch size.

    Attributes:
        name: The contender.
        batch: The batch size.
        call: Times of a call, in milliseconds.
        throughput: Samples a second, from the mean of the calls.
        ratio: Its time over the static model's, paired a round.
    """

    name: str
    batch: int
    call: TimeStats
    throughput: float
    ratio: Ratio


@dataclass(frozen=True)
class BenchReport:
    """What a comparison found. ``static again`` is the static model compared with itself.

    Attributes:
        fingerprint: The device.
        precision: The precision of all contenders.
        budget: The budget in force, as text, or None.
        samples: Samples of the data set.
        cost: Mean FLOPs a sample, as a fraction of the static model's.
        shares: Fraction of the samples that left at each exit.
        quality: Quality a contender.
        speed: Speed a contender and batch size.
    """

    fingerprint: str
    precision: str
    budget: str | None
    samples: int
    cost: float
    shares: tuple[float, ...]
    quality: tuple[Quality, ...]
    speed: tuple[Speed, ...]


def compare(
    runtime: Runtime,
    dataset: Dataset,
    *,
    baselines: Sequence[OpenModel] = (),
    batches: Sequence[int] = (1, 32),
    rounds: int = 40,
) -> BenchReport:
    """Compare a runtime at its present budget with the static model and other baselines.

    All contenders see the same samples in turn within every round, so that what disturbs the
    machine disturbs them alike. Baselines are compiled for the exact batch size, their fastest
    form.

    Args:
        runtime: The runtime.
        dataset: The samples, and labels if accuracy is wanted.
        baselines: What opens other models with the same inputs.
        batches: Batch sizes to measure speed at.
        rounds: Rounds a batch size.

    Raises:
        InputError: The data do not fit the model, or hold fewer samples than a batch.
    """
    if len(dataset) < max(batches):
        raise InputError(
            f"the data hold {len(dataset)} samples, fewer than the batch of {max(batches)}.",
            hint="give more data or a smaller batch.",
            code="input.too-few",
        )
    openers: tuple[OpenModel, ...] = (
        lambda machine, batch: WholeModel.of_bundle(runtime.bundle, machine, batch=batch),
        *baselines,
    )
    result = runtime(dataset.inputs)
    shares = np.bincount(result.exits - 1, minlength=runtime.plan.exits) / len(result.exits)
    return BenchReport(
        fingerprint=runtime.machine.fingerprint,
        precision=runtime.machine.precision,
        budget=runtime.stats().budget,
        samples=len(dataset),
        cost=result.cost,
        shares=tuple(float(share) for share in shares),
        quality=_qualities(runtime, dataset, result.labels, openers, max(batches)),
        speed=tuple(
            speed
            for batch in batches
            for speed in _speeds(runtime, dataset, openers, batch, rounds)
        ),
    )


def _qualities(
    runtime: Runtime,
    dataset: Dataset,
    labels: npt.NDArray[np.int64],
    openers: Sequence[OpenModel],
    batch: int,
) -> tuple[Quality, ...]:
    answers = {EDGEEXIT: labels}
    for opener in openers:
        model = opener(runtime.machine, batch)
        try:
            # The last batch begins anew at the first sample, as the size is fixed.
            starts = range(0, len(dataset), batch)
            slots = [np.arange(start, start + batch) % len(dataset) for start in starts]
            logits = np.concatenate([model(rows_of(runtime, dataset, s))[0] for s in slots])
        finally:
            model.close()
        answers[model.name] = logits[: len(dataset)].argmax(axis=-1)
    return tuple(
        Quality(
            name,
            None if dataset.labels is None else float((found == dataset.labels).mean()),
            float((found == answers[STATIC]).mean()),
        )
        for name, found in answers.items()
    )


def _speeds(
    runtime: Runtime, dataset: Dataset, openers: Sequence[OpenModel], batch: int, rounds: int
) -> list[Speed]:
    with ExitStack() as stack:
        models = [opener(runtime.machine, batch) for opener in openers]
        for model in models:
            stack.callback(model.close)
        contenders: dict[str, Callable[[Arrays], object]] = {EDGEEXIT: runtime}
        contenders |= {model.name: model for model in models}
        contenders[AGAIN] = models[0]

        def draw(order: np.random.Generator) -> Mapping[str, Callable[[], object]]:
            inputs = rows_of(runtime, dataset, order.integers(0, len(dataset), batch))
            return {name: partial(contender, inputs) for name, contender in contenders.items()}

        times = interleave(draw, batch, rounds)
    return [
        Speed(
            name,
            batch,
            TimeStats.of(spent.ravel()),
            1000.0 * batch / float(spent.mean()),
            Ratio.of(spent.sum(axis=1), times[STATIC].sum(axis=1)),
        )
        for name, spent in times.items()
    ]


def interleave(draw: Draw, batch: int, rounds: int) -> dict[str, npt.NDArray[np.float64]]:
    """Time calls in turn, on samples drawn anew for each turn.

    Args:
        draw: Returns the calls of a turn.
        batch: Samples that they answer: small batches take several turns a round.
        rounds: Rounds.

    Returns:
        By name ``(rounds, turns a round)`` milliseconds.
    """
    turns = max(1, _ROUND_SAMPLES // batch)
    order = np.random.default_rng(0)
    times: dict[str, list[int]] = defaultdict(list)
    for turn in range(-_WARM_ROUNDS * turns, rounds * turns):
        calls = draw(order)
        names = list(calls)
        # In random order: whoever follows a certain other would otherwise find its caches.
        for index in order.permutation(len(names)):
            start = perf_counter_ns()
            calls[names[index]]()
            spent = perf_counter_ns() - start
            if turn >= 0:
                times[names[index]].append(spent)
    # Named in the order of the calls, not in that of the first turn.
    return {
        name: np.reshape(times[name], (rounds, turns)) / NANOSECONDS_A_MILLISECOND for name in names
    }


def rows_of(runtime: Runtime, dataset: Dataset, rows: Sequence[int] | npt.NDArray[Any]) -> Arrays:
    """Return the inputs of some samples of a data set, in the model's layout."""
    slots = np.asarray(rows, np.intp)
    return {
        spec.name: take_samples(dataset.inputs[spec.name], spec, slots)
        for spec in runtime.plan.inputs
    }

"""Runs stages until every sample has left, and lets those that leave out of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeexit.errors import InputError
from edgeexit.runtime.answers import Answers, single
from edgeexit.runtime.dial import NEVER, Dial
from edgeexit.runtime.inputs import Checked
from edgeexit.runtime.lane import Lane
from edgeexit.runtime.result import Result
from edgeexit.runtime.worker import Worker

Runs = Sequence[Callable[[], None]]

Exits = int | npt.NDArray[np.integer[Any]]
"""Exits from 1: one for all samples, or ``(n,)``."""

Left = tuple[Lane, int, npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32] | None]
"""Samples that left: their lane, the exit from 0, places there, rows and scores."""


class Watch(Protocol):
    """Whoever measures: wraps the calls that run the stages of a lane."""

    def timed(self, lane: Lane) -> Runs:
        """Return K calls that run the stages of ``lane`` and note their times."""


class Guide(Protocol):
    """Whoever overrules the gates of one call: sends samples on, or lets them go early."""

    def rule(
        self,
        lane: Lane,
        index: int,
        slots: npt.NDArray[np.intp],
        rows: npt.NDArray[np.intp],
        leaving: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Return ``(m,) bool`` who leaves, after gate ``index`` (from 0) has said ``leaving``."""


def route(
    worker: Worker,
    checked: Checked,
    dial: Dial,
    watch: Watch | None,
    forced: npt.NDArray[np.intp] | None = None,
    guide: Guide | None = None,
) -> Result:
    """Answer one sample or a batch; the arguments are those of :func:`route_batch`."""
    if checked.rows > 1 or guide is not None:
        return route_batch(worker, checked, dial, watch, forced, guide).result(checked.rejected)
    lane = worker.lane(1, checked.symbols, dial)
    lane.write(checked.arrays)
    runs = lane.runs if watch is None else watch.timed(lane)
    if forced is not None or checked.rejected is not None:
        index = worker.plan.exits - 1 if forced is None else int(forced[0])
        score = walk_one(lane, index, runs)
    else:
        index, score = route_one(lane, dial.limits, runs)
    return single(worker.plan, lane, index, score, checked.rejected)


def route_one(lane: Lane, limits: Sequence[float], runs: Runs) -> tuple[int, float]:
    """Run stages on the one sample in ``lane`` until a score reaches its limit.

    The loop that a single input lives in: nothing is looked up by name, nothing is copied.
    A NaN score never leaves early, for comparisons with NaN are false.

    Returns:
        The exit taken, from 0, and its score; NaN at the last exit.
    """
    index = 0
    for score, limit in zip(lane.scores, limits, strict=True):
        runs[index]()
        value: float = score().item()
        if value >= limit:
            return index, value
        index += 1
    runs[index]()
    return index, NEVER


def walk_one(lane: Lane, last: int, runs: Runs) -> float:
    """Run the stages up to exit ``last`` (from 0) whatever their scores; return the last score."""
    value = NEVER
    for index in range(last + 1):
        runs[index]()
        if index < len(lane.scores):
            value = lane.scores[index]().item()
    return value if last < len(lane.scores) else NEVER


def route_batch(
    worker: Worker,
    checked: Checked,
    dial: Dial,
    watch: Watch | None,
    forced: npt.NDArray[np.intp] | None = None,
    guide: Guide | None = None,
) -> Answers:
    """Answer a batch: in chunks of the largest bucket, or one by one where rows must not leave.

    Args:
        worker: The buffers to use.
        checked: The inputs.
        dial: Gate parameters and thresholds.
        watch: Who measures, or None.
        forced: ``(n,)`` exits to take, from 0, whatever the scores; None asks the gates.
        guide: Who overrules the gates, or None.
    """
    answers = Answers(worker.plan, checked.rows)
    width = worker.largest if worker.plan.compacts else 1
    for start in range(0, checked.rows, width):
        rows = np.arange(start, min(start + width, checked.rows))
        _route_chunk(worker, checked, rows, dial, watch, forced, guide, answers)
    return answers


def _route_chunk(
    worker: Worker,
    checked: Checked,
    rows: npt.NDArray[np.intp],
    dial: Dial,
    watch: Watch | None,
    forced: npt.NDArray[np.intp] | None,
    guide: Guide | None,
    answers: Answers,
) -> None:
    """Answer the consecutive samples ``rows``; ``slots`` are their places in the present lane."""
    lane = worker.lane_of(_first_size(worker, len(rows)), checked.symbols, dial)
    lane.write(checked.arrays, int(rows[0]), int(rows[-1]) + 1)
    slots = np.arange(len(rows))
    # Answers stay where the stages wrote them until the last stage is done: an engine whose threads
    # wait for the next stage falls asleep, and waking it costs more than the wait.
    left: list[Left] = []
    for index, limit in enumerate(dial.limits):
        (watch.timed(lane) if watch else lane.runs)[index]()
        scores: npt.NDArray[np.float32] = lane.scores[index]()[slots]
        if forced is not None:
            leaving = forced[rows] == index
        else:
            leaving = scores >= limit
            if checked.rejected is not None:
                leaving &= ~checked.rejected[rows]
            if guide is not None:
                leaving = guide.rule(lane, index, slots, rows, leaving)
        count = np.count_nonzero(leaving)
        if not count:
            continue
        if count == len(rows):
            left.append((lane, index, slots, rows, scores))
            break
        left.append((lane, index, slots[leaving], rows[leaving], scores[leaving]))
        staying = ~leaving
        rows, slots = rows[staying], slots[staying]
        lane, slots = _shrink(worker, lane, index, slots, checked.symbols, dial)
    else:
        (watch.timed(lane) if watch else lane.runs)[-1]()
        left.append((lane, len(dial.limits), slots, rows, None))
    for leavers in left:
        answers.add(*leavers)


def _shrink(
    worker: Worker,
    lane: Lane,
    index: int,
    slots: npt.NDArray[np.intp],
    symbols: tuple[int, ...],
    dial: Dial,
) -> tuple[Lane, npt.NDArray[np.intp]]:
    """Move the samples left to a smaller lane where that pays; else the dead rows stay."""
    if lane.bucket == 1:
        return lane, slots
    size = worker.sizes.after(index, len(slots), lane.bucket)
    if size == lane.bucket:
        return lane, slots
    smaller = worker.lane_of(size, symbols, dial)
    lane.move(index, slots, smaller)
    return smaller, np.arange(len(slots))


def _first_size(worker: Worker, rows: int) -> int:
    """Return the size at which a chunk begins; single samples always run alone."""
    return 1 if rows == 1 else worker.sizes.first(rows)


def run_all(
    worker: Worker, checked: Checked, dial: Dial
) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
    """Run every sample through all stages.

    Returns:
        K arrays of logits, K - 1 of features and K - 1 of scores, each with n rows.
    """
    plan = worker.plan
    logits: list[list[npt.NDArray[Any]]] = [[] for _ in plan.stages]
    features: list[list[npt.NDArray[Any]]] = [[] for _ in dial.limits]
    scores: list[list[npt.NDArray[Any]]] = [[] for _ in dial.limits]
    width = worker.largest if plan.compacts else 1
    for start in range(0, checked.rows, width):
        stop = min(start + width, checked.rows)
        lane = worker.lane(stop - start, checked.symbols, dial)
        lane.write(checked.arrays, start, stop)
        slots = np.arange(stop - start)
        for index, run in enumerate(lane.runs):
            run()
            logits[index].append(lane.logits(index, slots))
            if index < len(dial.limits):
                features[index].append(lane.features[index]()[slots])
                scores[index].append(lane.scores[index]()[slots])
    join = np.concatenate
    return [join(x) for x in logits], [join(x) for x in features], [join(x) for x in scores]


def forced_exits(exits: Exits, rows: int, count: int) -> npt.NDArray[np.intp]:
    """Return the exits asked for, ``(rows,)`` from 0.

    Args:
        exits: One exit from 1 for all samples, or ``(rows,)``.
        rows: Number of samples.
        count: The number K of exits.

    Raises:
        InputError: There is no such exit, or the shape differs.
    """
    wanted: npt.NDArray[np.intp] = np.asarray(exits, dtype=np.intp)
    if wanted.shape not in ((), (rows,)) or wanted.min() < 1 or wanted.max() > count:
        raise InputError(
            f"exits of shape {wanted.shape} from {wanted.min()} to {wanted.max()} do not fit "
            f"{rows} samples and the exits 1 to {count}.",
            hint="give one exit for all samples, or one a sample, counted from 1.",
            code="input.exits",
        )
    return np.broadcast_to(wanted - 1, (rows,))

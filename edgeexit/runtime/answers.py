"""Gathers the rows of a batch as they leave at their exits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.runtime.lane import Lane
from edgeexit.runtime.plan import Plan
from edgeexit.runtime.result import Result


class Answers:
    """The answers to n samples, filled in any order.

    Args:
        plan: The bundle's plan.
        rows: The number n of samples.
    """

    def __init__(self, plan: Plan, rows: int) -> None:
        self._plan = plan
        self._exits = np.zeros(rows, np.int32)
        self._scores = np.full(rows, np.nan, np.float32)
        self._logits: npt.NDArray[Any] | None = None
        self._ragged: list[npt.NDArray[Any]] = [np.empty(0)] * (0 if plan.uniform else rows)
        self._extras: dict[str, list[npt.NDArray[Any]]] = {}

    def add(
        self,
        lane: Lane,
        index: int,
        slots: npt.NDArray[np.intp],
        rows: npt.NDArray[np.intp],
        scores: npt.NDArray[np.float32] | None,
    ) -> None:
        """Take the answers of samples that leave; an exit's samples come in rising order.

        Args:
            lane: Where they are.
            index: The exit, from 0.
            slots: ``(m,)`` their places in the lane.
            rows: ``(m,)`` their places among the n samples.
            scores: ``(m,)`` their scores; None at the last exit.
        """
        self._exits[rows] = index + 1
        if scores is not None:
            self._scores[rows] = scores
        logits = lane.logits(index, slots)
        if self._plan.uniform:
            if self._logits is None:
                self._logits = np.empty((len(self._exits), *logits.shape[1:]), logits.dtype)
            self._logits[rows] = logits
        else:
            for row, one in zip(rows, logits, strict=True):
                self._ragged[row] = one
        if lane.has_extras(index):
            for name, array in lane.extras(index, slots).items():
                self._extras.setdefault(name, []).append(array)

    def result(self, rejected: npt.NDArray[np.bool_] | None) -> Result:
        """Return the answers, all of them in."""
        return Result(
            logits=self._ragged if self._logits is None else self._logits,
            exits=self._exits,
            scores=self._scores,
            outputs={name: np.concatenate(parts) for name, parts in self._extras.items()},
            exit_costs=self._plan.costs,
            rejected=rejected,
        )


def single(
    plan: Plan, lane: Lane, index: int, score: float, rejected: npt.NDArray[np.bool_] | None
) -> Result:
    """Return the answer to one sample that left at exit ``index`` (from 0) of a lane of one."""
    logits = lane.single_logits(index)
    return Result(
        logits if plan.uniform else [*logits],
        np.array([index + 1], np.int32),
        np.array([score], np.float32),
        lane.extras(index, _FIRST) if lane.has_extras(index) else {},
        plan.costs,
        rejected,
    )


_FIRST = np.zeros(1, np.intp)

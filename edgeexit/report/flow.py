"""Which classes leave where, and what the exits mistake for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TOP_PAIRS = 5
"""Pairs of classes named an exit."""

Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class ClassFlow:
    """Where the samples of one class leave at the budget.

    Attributes:
        name: The class.
        count: Its samples.
        shares: Fractions that leave at each exit.
        mean_exit: Mean number of the exit taken, from 1.
        quality: Mean quality at the exits taken.
    """

    name: str
    count: int
    shares: tuple[float, ...]
    mean_exit: float
    quality: float


@dataclass(frozen=True)
class Pair:
    """A class that was taken for another.

    Attributes:
        true: The class.
        answered: What it was taken for.
        count: How often.
    """

    true: str
    answered: str
    count: int


@dataclass(frozen=True)
class ExitFlow:
    """The samples that leave at one exit at the budget.

    Attributes:
        exit: Its number, from 1.
        count: Samples.
        share: Their fraction of all.
        quality: Their mean quality; None where none leaves.
        wrong: How many are answered wrongly.
        pairs: The most frequent mistakes among them.
    """

    exit: int
    count: int
    share: float
    quality: float | None
    wrong: int
    pairs: tuple[Pair, ...]


def class_names(known: Sequence[str] | None, truth: Integers, answers: Integers) -> tuple[str, ...]:
    """Return a name for every class number that occurs; ``class 7`` where there are none."""
    count = int(max(truth.max(), answers.max())) + 1
    names = tuple(known or ())[:count]
    return names + tuple(f"class {number}" for number in range(len(names), count))


def class_flows(
    names: Sequence[str], truth: Integers, taken: Integers, right: Integers, exits: int
) -> tuple[ClassFlow, ...]:
    """Return the flow of each class that occurs, those that leave latest first.

    Args:
        names: Class names.
        truth: ``(n,)`` class of each sample.
        taken: ``(n,)`` exit taken, from 0.
        right: ``(n,)`` 1 where it is answered rightly there.
        exits: K.
    """
    counts = np.zeros((len(names), exits), dtype=np.int64)
    np.add.at(counts, (truth, taken), 1)
    good = np.bincount(truth, right, len(names))
    found = []
    for number in np.flatnonzero(counts.sum(axis=1)).tolist():
        total = int(counts[number].sum())
        shares = counts[number] / total
        mean = float(shares @ np.arange(1, exits + 1))
        flow = tuple(float(share) for share in shares)
        found.append(ClassFlow(names[number], total, flow, mean, float(good[number] / total)))
    return tuple(sorted(found, key=lambda flow: -flow.mean_exit))


def exit_flows(
    names: Sequence[str], truth: Integers, answers: Integers, taken: Integers, exits: int
) -> tuple[ExitFlow, ...]:
    """Return what leaves at each exit, and its most frequent mistakes.

    Args:
        names: Class names.
        truth: ``(n,)`` class of each sample.
        answers: ``(n,)`` answer at the exit taken.
        taken: ``(n,)`` exit taken, from 0.
        exits: K.
    """
    found = []
    for number in range(exits):
        here = taken == number
        count, wrong = int(here.sum()), here & (answers != truth)
        quality = 1 - float(wrong.sum() / count) if count else None
        pairs = _pairs(names, truth[wrong], answers[wrong])
        share = float(count / len(taken))
        found.append(ExitFlow(number + 1, count, share, quality, int(wrong.sum()), pairs))
    return tuple(found)


def _pairs(names: Sequence[str], truth: Integers, answers: Integers) -> tuple[Pair, ...]:
    pairs, counts = np.unique(np.stack([truth, answers], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:TOP_PAIRS]
    return tuple(Pair(names[pairs[i, 0]], names[pairs[i, 1]], int(counts[i])) for i in order)

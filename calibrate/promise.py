"""What a calibration is asked to certify, and whether the data can bear it at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeexit.budget import Budget, CostKind
from edgeexit.calibrate.records import ExitRecords
from edgeexit.calibrate.units import unit_numbers
from edgeexit.errors import InputError

MIN_CONFIDENCE = 0.5
MIN_UNITS = 4


@dataclass(frozen=True)
class Promise:
    """What is to be certified.

    Attributes:
        confidence: Probability with which all of it holds, such as 0.95.
        iid: Whether samples without groups are declared independent.
        budgets: Budgets, all of one kind; empty for every tenth of the static model.
        max_drop: Percentage points of quality to lose at most, or None.
        kind: Kind of the budgets where none is named.
    """

    confidence: float
    iid: bool = False
    budgets: tuple[Budget, ...] = ()
    max_drop: float | None = None
    kind: CostKind = "flops"


def check_promise(
    promise: Promise, records: ExitRecords, unlabelled: ExitRecords | None = None
) -> None:
    """Refuse a promise that these data cannot bear.

    Raises:
        InputError: As :func:`check_units`, or there are too few groups.
    """
    parts = [part for part in (records, unlabelled) if part is not None]
    check_units(promise, [part.group is not None for part in parts])
    count = len(np.unique(unit_numbers([records])[0]))
    if count < MIN_UNITS:
        raise _error(
            f"{count} groups cannot be split into some that fit and some that certify.",
            "give some fifty groups or more.",
            "samples",
        )


def check_units(promise: Promise, grouped: Sequence[bool]) -> None:
    """Refuse a promise before records are taken.

    Args:
        promise: What is to be certified.
        grouped: Whether the labelled data, and any unlabelled ones, have groups.

    Raises:
        InputError: The confidence or the drop is out of range, it is not said what is
            independent, or labelled and unlabelled data disagree on it.
    """
    if not MIN_CONFIDENCE <= promise.confidence < 1:
        fault = f"a confidence of {promise.confidence:g} is out of range: {MIN_CONFIDENCE} to "
        raise _error(f"{fault}below 1 is right.", "give for example 0.95.", "confidence")
    if promise.max_drop is not None and not 0 <= promise.max_drop < 100:
        fault = f"a drop of {promise.max_drop:g} points cannot be certified: 0 to 100 is right."
        raise _error(fault, "give for example 1.", "drop")
    if not any(grouped) and not promise.iid:
        raise _error(
            "the data do not say which samples are independent, and a guarantee needs that.",
            "give an array `group` (the clip, patient or site of each sample); only where every "
            "sample was drawn on its own, say --iid.",
            "unit",
        )
    if any(grouped) and promise.iid:
        fault = "--iid says that samples are independent, but the data have groups."
        raise _error(fault, "leave --iid out: whole groups are then the unit.", "unit")
    if any(grouped) and not all(grouped):
        fault = "only one of the labelled and the unlabelled data has groups."
        raise _error(fault, "give `group` in both, or in neither and --iid.", "unit")


def _error(fault: str, hint: str, code: str) -> InputError:
    return InputError(fault, hint=hint, code=f"guarantee.{code}")

"""From a bundle, and data if there are any, to the numbers of a report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import ExitFamily
from edgeexit.bundle.selection import model_numbers
from edgeexit.bundle.specs import Manifest
from edgeexit.datasets import Dataset, load_dataset
from edgeexit.errors import BudgetError
from edgeexit.report.device import here
from edgeexit.report.evaluation import Evaluation, Progress, class_count, evaluate
from edgeexit.report.facts import CurveFacts, Data, Report
from edgeexit.report.flow import ClassFlow, ExitFlow, class_flows, class_names, exit_flows
from edgeexit.report.missing import BUSY, missing
from edgeexit.report.operating import (
    Operating,
    Place,
    drawn_cost,
    exits_taken,
    family_kind,
    fitted_curve,
    fitted_point,
    in_batches,
    measured_curve,
    measured_exits,
    measured_point,
    measured_static,
)
from edgeexit.report.reliability import Reliability, reliability
from edgeexit.report.stored import (
    Subject,
    stored_calibrated,
    stored_model,
    stored_parity,
    stored_stages,
)
from edgeexit.report.verdict import Advice, Case, advise
from edgeexit.runtime.runtime import Runtime
from edgeexit.version import __version__

LIMIT = 20_000
"""Samples measured on unless told otherwise: an accuracy's standard error is 0.35 points then."""

_UNITS = {"flops": "FLOPs", "latency": "latency", "energy": "energy"}


@dataclass(frozen=True)
class _Seen:
    """What the data say; all of it empty without data."""

    data: Data | None = None
    point: Operating | None = None
    flow: tuple[ExitFlow, ...] = ()
    classes: tuple[ClassFlow, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    static_fault: str = ""


def gather_report(
    bundle: str | os.PathLike[str] | Bundle,
    data: str | Path | Mapping[str, Any] | None = None,
    *,
    budget: Budget | float | str | None = None,
    target: str | Path | None = None,
    exits: str | os.PathLike[str] | None = None,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Report:
    """Return the numbers of a report.

    Args:
        bundle: The bundle or its folder.
        data: Samples to measure on, best with labels and best not the calibration set; None to
            report what is stored.
        budget: The budget to report on; by default the calibrated one.
        target: Device to run the data on; by default the one the bundle was compiled for.
        exits: File of the calibrated exits; by default the bundle's own.
        limit: Most samples, taken evenly spaced.
        progress: Told after every batch.

    Raises:
        BudgetError: The exits cannot serve the budget, or are not calibrated.
        BundleError: The bundle is missing or damaged.
        InputError: The data do not fit the model.
        TargetError: There are data, or ``target`` is given, and the engine is missing or refuses
            the model.
    """
    opened = Bundle.open(bundle)
    family = opened.exits(exits)
    chosen = _budget(family, None if budget is None else Budget.parse(budget))
    subject = Subject(opened, family, chosen, here(opened, target))
    found = None
    if data is not None:
        dataset = _load(data, opened.manifest, limit)
        with Runtime(opened, target=target, exits=False) as runtime:
            found = evaluate(runtime, dataset, progress or _silent)
        source = "data given in memory" if isinstance(data, Mapping) else str(data)
        seen = _seen(subject, dataset, source, found)
    else:
        seen = _Seen()
    curve = _curve(subject, found)
    point = seen.point
    if point is None and family is not None and chosen is not None:
        point = fitted_point(family, chosen)
    return _report(subject, seen, curve, point)


def _budget(family: ExitFamily | None, wanted: Budget | None) -> Budget | None:
    """Return the budget to report on: the one asked for, else the calibrated one.

    Raises:
        BudgetError: The exits cannot serve it, or are not calibrated.
    """
    if family is None:
        if wanted is None:
            return None
        raise BudgetError(
            f"a budget of {wanted} needs calibrated exits, and this bundle has no exits.json.",
            hint="calibrate it first: edgeexit calibrate BUNDLE --data DATA.",
            code="budget.uncalibrated",
        )
    budget = wanted or family.budget
    if budget is not None:
        family.position(budget)
    return budget


def _silent(step: str, done: float) -> None:
    """Show no progress."""


def _load(data: str | Path | Mapping[str, Any], manifest: Manifest, limit: int) -> Dataset:
    return load_dataset(
        data,
        inputs=manifest.inputs,
        classes=manifest.classes,
        class_count=class_count(manifest),
        limit=limit,
    )


def _seen(subject: Subject, dataset: Dataset, source: str, found: Evaluation) -> _Seen:
    family, exits = subject.family, found.records.num_exits
    taken = exits_taken(family, subject.budget, found)
    answers = found.answers[np.arange(len(taken)), taken]
    names = class_names(subject.bundle.classes, found.truth, found.answers)
    right = (answers == found.truth).astype(np.int64)
    data = Data(
        source,
        len(dataset),
        len(set(found.units.tolist())),
        "sample" if dataset.group is None else "group",
        dataset.labels is not None,
        dataset.sha256,
        family is not None and dataset.sha256 == family.data_sha256,
    )
    believed: tuple[Reliability, ...] = ()
    if dataset.labels is not None:
        believed = tuple(
            reliability(k + 1, found.confidence[:, k], found.records.quality[:, k])
            for k in range(exits)
        )
    return _Seen(
        data,
        measured_point(subject.costs, taken, found) if subject.budget else None,
        exit_flows(names, found.truth, answers, taken, exits),
        class_flows(names, found.truth, taken, right, exits),
        believed,
        found.static_fault,
    )


def _curve(subject: Subject, found: Evaluation | None) -> CurveFacts:
    family, budget = subject.family, subject.budget
    quality: str = "accuracy" if found is None else found.records.quality_kind
    fitted: tuple[Place, ...] = ()
    measured: tuple[Place, ...] = ()
    exits: tuple[Place, ...] = ()
    static = None
    relative = None
    if family is not None:
        table = family.costs[family_kind(family, budget)]
        relative = None if budget is None else drawn_cost(family, budget)
        if found is None or found.records.quality_kind == family.quality_kind:
            fitted = fitted_curve(family, table.kind)
        if found is None:
            quality = family.quality_kind
            alone = zip(subject.costs, family.per_exit_quality, strict=True)
            exits = tuple(Place(cost, float(value)) for cost, value in alone)
            # The static model is the last exit without the others: the same answers, at cost 1.
            static = Place(1.0, float(family.per_exit_quality[-1]))
        else:
            measured = measured_curve(family, table.kind, found)
    if found is not None:
        exits, static = measured_exits(subject.costs, found), measured_static(found)
    return CurveFacts(
        subject.kind, quality, fitted, measured, exits, static, relative, subject.estimated
    )


def _report(subject: Subject, seen: _Seen, curve: CurveFacts, point: Operating | None) -> Report:
    manifest = subject.bundle.manifest
    parity = stored_parity(subject.bundle)
    return Report(
        model=stored_model(subject),
        here=subject.here,
        verdict=_advice(subject, curve, point),
        calibrated=stored_calibrated(subject),
        data=seen.data,
        curve=curve,
        point=point,
        flow=seen.flow,
        classes=seen.classes,
        reliability=seen.reliability,
        stages=stored_stages(manifest),
        parity=parity,
        provenance=manifest.provenance,
        missing=missing(subject.family, subject.here, seen.data, seen.static_fault, parity),
        created=datetime.now(timezone.utc).isoformat(timespec="minutes"),
        edgeexit=__version__,
    )


def _advice(subject: Subject, curve: CurveFacts, point: Operating | None) -> Advice:
    costs = subject.costs
    profile = subject.here.profile
    exits = curve.exits or tuple(Place(cost, 0.0) for cost in costs)
    milliseconds = None
    family, budget = subject.family, subject.budget
    batches = family is not None and budget is not None and in_batches(family, budget)
    # The profile's mean is that of single calls, which says nothing of batches.
    if profile is not None and point is not None and profile.load <= BUSY and not batches:
        milliseconds = (profile.mean(point.shares), profile.static.median)
    case = Case(
        curve.measured or curve.fitted,
        exits,
        curve.static or Place(1.0, 0.0),
        subject.stated,
        point,
        f"{'estimated ' if subject.estimated else ''}{_UNITS[subject.kind]}",
        curve.quality,
        milliseconds,
        model_numbers(subject.bundle),
    )
    return advise(case)

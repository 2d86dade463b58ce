"""``calibrate_exits``: from a bundle and a data set to the bundle's ``exits.json``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import CostTable, ExitFamily
from edgeexit.bundle.specs import Manifest
from edgeexit.calibrate.builder import RecordBuilder
from edgeexit.calibrate.checks import check_labels
from edgeexit.calibrate.costs import check_budget, flops_table
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.frontier import (
    DEFAULT_MAX_DROP,
    OperatingPoint,
    frontier,
    point_at,
    recommend,
)
from edgeexit.calibrate.policies import DEFAULT_POLICY, find_policy
from edgeexit.calibrate.records import ExitRecords, GateLayout
from edgeexit.datasets import Dataset, load_dataset
from edgeexit.errors import InputError
from edgeexit.runtime.profile import load_or_measure
from edgeexit.runtime.runtime import Runtime

BATCH_SAMPLES = 256
"""Samples handed to the engines at once."""

Data = str | Path | Mapping[str, Any] | Dataset
"""A data set, or what :func:`edgeexit.datasets.load_dataset` reads one from."""

Progress = Callable[[int, int], None]
"""Called with the number of samples done and the number in all."""


@dataclass(frozen=True)
class Calibration:
    """What calibrating a bundle gave.

    Attributes:
        family: The exit family, as written to ``exits.json``.
        point: The operating point of the budget; without one, the recommended point.
        table: The operating points over the whole range of costs.
        recommended: True where ``point`` is a recommendation.
        file: The file that was written.
    """

    family: ExitFamily
    point: OperatingPoint
    table: tuple[OperatingPoint, ...]
    recommended: bool
    file: Path


def calibrate_exits(
    bundle: str | os.PathLike[str] | Bundle,
    data: Data,
    budget: Budget | float | str | None = None,
    *,
    policy: str = DEFAULT_POLICY,
    cost: CostKind = "flops",
    max_drop: float = DEFAULT_MAX_DROP,
    target: str | Path | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Calibrate the exits of a bundle on a data set and write them into the bundle.

    The records come from the bundle's own stages on this machine. Nothing is written until
    everything has been checked and fitted.

    Args:
        bundle: The bundle or its folder.
        data: The calibration set; labels make quality accuracy, else it is agreement with the
            last exit.
        budget: The mean cost wanted, ``0.5`` or ``"8ms"``; None to recommend the cheapest point
            that loses at most ``max_drop``.
        policy: Name of the exit policy.
        cost: Which cost to hold against where there is no budget.
        max_drop: Percentage points of quality a recommendation may lose against the last exit.
        target: Device to take records on; by default the one the bundle was compiled for.
        output: File to write, for bundles on a read-only disk; by default the bundle's own
            ``exits.json``.
        progress: Told after every batch.

    Raises:
        BudgetError: The budget is outside what the model can do, or malformed.
        BundleError: The bundle is missing or damaged.
        InputError: The data do not fit the model, or the policy does not fit its gate.
        ResourceError: The bundle cannot be written.
        TargetError: The engine is missing or refuses the model.
    """
    wanted = None if budget is None else Budget.parse(budget)
    kind = cost if wanted is None else wanted.kind
    find_policy(policy)
    opened = Bundle.open(bundle)
    flops = flops_table(opened.manifest)
    if wanted is not None and kind == "flops":
        check_budget(wanted, flops)
    dataset = _dataset(data, opened.manifest)
    with Runtime(opened, target=target, exits=False) as runtime:
        tables = _cost_tables(runtime, flops, kind, wanted)
        records = collect_records(runtime, opened.manifest, dataset, progress)
    family = fit_family(
        records, tables, policy=policy, budget=wanted, manifest_digest=opened.digest
    )
    point = point_at(family, wanted) if wanted else recommend(family, kind, max_drop)
    table = frontier(family, kind)
    file = opened.write_exits(family, output)
    return Calibration(family, point, table, wanted is None, file)


def collect_records(
    runtime: Runtime, manifest: Manifest, dataset: Dataset, progress: Progress | None = None
) -> ExitRecords:
    """Run every sample through every stage and return the exit records.

    Samples run in random order (fixed seed), since the temperature is fitted on the first 2,000
    and data sets are often sorted by class.

    Args:
        runtime: The running bundle.
        manifest: Its manifest.
        dataset: The data set, its labels already checked against the model.
        progress: Told after every batch.

    Raises:
        InputError: There are too few samples, or an output is not finite.
    """
    layout = gate_layout(manifest)
    builder = RecordBuilder(layout, len(manifest.stages))
    order = np.random.default_rng(0).permutation(len(dataset))
    group = None
    if dataset.group is not None:
        group = np.unique(dataset.group, return_inverse=True)[1].astype(np.int64)
    for start in range(0, len(order), BATCH_SAMPLES):
        rows = order[start : start + BATCH_SAMPLES]
        outputs = runtime.all_exits({name: array[rows] for name, array in dataset.inputs.items()})
        builder.add(
            outputs.logits,
            outputs.features,
            None if dataset.labels is None else dataset.labels[rows],
            None if group is None else group[rows],
        )
        if progress is not None:
            progress(min(start + BATCH_SAMPLES, len(order)), len(order))
    return builder.build(dataset.sha256)


def gate_layout(manifest: Manifest) -> GateLayout:
    """Return the layout that all gates of a bundle share.

    Raises:
        InputError: Its gates differ.
    """
    layouts = {GateLayout.of(stage.gate) for stage in manifest.stages if stage.gate}
    if len(layouts) != 1:
        raise InputError(
            f"this bundle has {len(layouts)} different gates; a policy needs one gate at all "
            "exits but the last.",
            hint="compile with a single --gate.",
            code="policy.gates",
        )
    return layouts.pop()


def _dataset(data: Data, manifest: Manifest) -> Dataset:
    """Return the data set, checked against the model's inputs and classes."""
    classes = manifest.stages[-1].exit.outputs[0].shape[-1]
    if isinstance(data, Dataset):
        if data.labels is not None and isinstance(classes, int):
            check_labels(data.labels, classes, len(data))
        return data
    return load_dataset(
        data,
        inputs=manifest.inputs,
        classes=manifest.classes,
        class_count=classes if isinstance(classes, int) else None,
    )


def _cost_tables(
    runtime: Runtime, flops: CostTable, kind: CostKind, budget: Budget | None
) -> tuple[CostTable, ...]:
    """Return the tables wanted, the one that decides first; measures latency where it is asked."""
    if kind == "flops":
        return (flops,)
    latency = load_or_measure(runtime).cost_table()
    if budget is not None:
        check_budget(budget, latency)
    return latency, flops

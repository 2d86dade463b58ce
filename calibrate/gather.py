"""What calibration needs of a bundle and its data on this device: exit records and costs."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate.batches import Batching, measured_batches
from edgeexit.calibrate.checks import check_variety
from edgeexit.calibrate.collect import Data, Progress, collect_records, read_data, share_groups
from edgeexit.calibrate.costs import check_budget, checked_table, flops_table, with_errors
from edgeexit.calibrate.promise import Promise, check_units
from edgeexit.calibrate.records import ExitRecords
from edgeexit.calibrate.tail import check_limit
from edgeexit.datasets import Dataset
from edgeexit.runtime.batch_modes import BatchTimes
from edgeexit.runtime.call_times import CallTimes, load_or_measure_calls
from edgeexit.runtime.energy import load_or_measure_energy
from edgeexit.runtime.power.profile import energy_table
from edgeexit.runtime.profile import load_or_measure
from edgeexit.runtime.runtime import Runtime


@dataclass(frozen=True)
class Gathered:
    """What the stages of a bundle gave on this device.

    Attributes:
        bundle: The bundle.
        records: Exit records of the calibration set.
        unlabelled: Exit records of further data, or None.
        tables: Cost tables, the one that decides first.
        answers: ``(n, K) int64`` class that each exit gave to the samples of ``records``.
        times: How long calls take that leave at each exit, where a limit on them is set.
        batches: What exit shares cost in batches, where the budget is to hold there.
    """

    bundle: Bundle
    records: ExitRecords
    unlabelled: ExitRecords | None
    tables: tuple[CostTable, ...]
    answers: npt.NDArray[np.int64]
    times: CallTimes | None = None
    batches: BatchTimes | None = None


@dataclass(frozen=True)
class Checks:
    """What is refused before a stage has run: it spares the user the wait.

    Attributes:
        budget: The budget wanted, or None.
        kind: The kind of cost that decides.
        promise: What is to be certified, or None.
        limit: Milliseconds that 95 % of the calls may take, or None.
        batching: In which batches the budget is to hold, or None.
    """

    budget: Budget | None
    kind: CostKind
    promise: Promise | None
    limit: float | None = None
    batching: Batching | None = None

    def costs(self, table: CostTable) -> None:
        """Refuse budgets that the costs cannot meet."""
        budgets = self.promise.budgets if self.promise else ()
        for budget in (self.budget, *budgets):
            if budget is not None and table.kind == self.kind:
                check_budget(budget, table)

    def data(self, labelled: Dataset, unlabelled: Dataset | None) -> None:
        """Refuse labels of one class, and data that do not say what is independent."""
        if labelled.labels is not None:
            check_variety(labelled.labels)
        if self.promise is not None:
            groups = [part.group is not None for part in (labelled, unlabelled) if part]
            check_units(self.promise, groups)


def gather(
    bundle: str | os.PathLike[str] | Bundle,
    data: Data,
    checks: Checks,
    unlabelled: Data | None = None,
    *,
    label_free: bool = False,
    target: str | Path | None = None,
    progress: Progress | None = None,
) -> Gathered:
    """Take records and costs; see :func:`calibrate_exits` for arguments and errors."""
    opened = Bundle.open(bundle)
    flops = flops_table(opened.manifest)
    checks.costs(flops)
    labelled = read_data(data, opened.manifest)
    if label_free:
        labelled = dataclasses.replace(labelled, labels=None)
    further = None if unlabelled is None else read_data(unlabelled, opened.manifest)
    checks.data(labelled, further)
    if further is not None:
        labelled, further = share_groups(labelled, dataclasses.replace(further, labels=None))
    with Runtime(opened, target=target, exits=False) as runtime:
        tables: tuple[CostTable, ...] = (flops,)
        batches = None
        if checks.kind != "flops":
            if checks.batching is None:
                measured = _measured(runtime, checks.kind)
            else:
                batches, measured = measured_batches(runtime, checks.batching)
            checks.costs(measured)
            tables = (measured, flops)
        times = None
        if checks.limit is not None:
            times = load_or_measure_calls(runtime)
            check_limit(checks.limit, times)
        answers: list[npt.NDArray[np.int64]] = []
        records = collect_records(runtime, opened.manifest, labelled, progress, answers)
        more = None
        if further is not None:
            more = collect_records(runtime, opened.manifest, further, progress)
    return Gathered(opened, records, more, tables, np.concatenate(answers), times, batches)


def _measured(runtime: Runtime, kind: CostKind) -> CostTable:
    """Return the measured costs with their standard errors; measures where it was not done."""
    if kind == "energy":
        return checked_table(energy_table(load_or_measure_energy(runtime)))
    profile = load_or_measure(runtime)
    single = profile.batches[0]
    return with_errors(profile.cost_table(), [*single.stages, single.call])

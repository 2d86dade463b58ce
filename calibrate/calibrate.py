"""``calibrate_exits``: from a bundle and a data set to the bundle's ``exits.json``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.batch_costs import BatchMode
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import ExitFamily
from edgeexit.bundle.selection import model_numbers
from edgeexit.calibrate.batches import fit_batch_family, parse_batching
from edgeexit.calibrate.collect import Data, Progress, collect_records
from edgeexit.calibrate.counterpart import Compared, find_counterpart
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.frontier import (
    DEFAULT_MAX_DROP,
    OperatingPoint,
    frontier,
    point_at,
    recommend,
)
from edgeexit.calibrate.gather import Checks, Gathered, gather
from edgeexit.calibrate.guarantee import fit_certified_family
from edgeexit.calibrate.policies import DEFAULT_POLICY, find_policy
from edgeexit.calibrate.promise import Promise
from edgeexit.calibrate.sweep import Sweep, sweep
from edgeexit.calibrate.tail import fit_tail_family, parse_limit, refuse_beside_limit, with_tails
from edgeexit.calibrate.verdict import Verdict, judge
from edgeexit.errors import InputError

__all__ = ["Calibration", "calibrate_exits", "collect_records", "sweep_exits"]


@dataclass(frozen=True)
class Calibration:
    """What calibrating a bundle gave.

    Attributes:
        family: The exit family, as written to ``exits.json``.
        point: The operating point of the budget; without one, the recommended point.
        table: The operating points over the whole range of costs.
        recommended: True where ``point`` is a recommendation.
        file: The file that was written.
        compared: What changes against another calibration, where one was named.
    """

    family: ExitFamily
    point: OperatingPoint
    table: tuple[OperatingPoint, ...]
    recommended: bool
    file: Path
    compared: Compared | None = None


def calibrate_exits(
    bundle: str | os.PathLike[str] | Bundle,
    data: Data,
    budget: Budget | float | str | None = None,
    *,
    policy: str = DEFAULT_POLICY,
    cost: CostKind = "flops",
    p95: Budget | str | None = None,
    batch: int | None = None,
    mode: BatchMode | None = None,
    max_drop: float | None = None,
    guarantee: float | None = None,
    iid: bool = False,
    certify: Sequence[Budget | float | str] = (),
    unlabelled: Data | None = None,
    label_free: bool = False,
    target: str | Path | None = None,
    output: str | os.PathLike[str] | None = None,
    compare: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Calibrate the exits of a bundle on a data set and write them into the bundle.

    The records come from the bundle's own stages on this machine. Nothing is written until
    everything has been checked and fitted.

    Args:
        bundle: The bundle or its folder.
        data: The calibration set; labels make quality accuracy, else it is agreement with the
            last exit. Its ``group`` says which samples belong together.
        budget: The mean cost wanted, ``0.5``, ``"8ms"`` or ``"40mJ"``; None to recommend the
            cheapest point that loses at most ``max_drop``.
        policy: Name of the exit policy.
        cost: Which cost to hold against where there is no budget.
        p95: A time such as ``"12ms"`` in place of a budget: the dearest point is taken at which
            95 % of the calls of one sample are forecast to take no longer on this machine.
        batch: Samples a call, where a budget in milliseconds (a sample) is to hold in batches.
        mode: How such a batch runs; ``compacted``, as the runtime runs it, unless given.
        max_drop: Percentage points of quality to lose at most against the last exit: what a
            recommendation may lose (0.5 unless given) and, with a guarantee, what is certified.
        guarantee: Confidence, such as 0.95, with which mean cost stays within the budget on new
            data like these; None for none. Without ``budget`` and ``certify`` every tenth of the
            static model is certified, and the drop with them.
        iid: Declares samples without groups independent, which a guarantee needs.
        certify: Further budgets to certify, of the same kind.
        unlabelled: Further data that set the knob of a guarantee; labels in it are ignored.
        label_free: Ignores the labels: quality is agreement with the last exit.
        target: Device to take records on; by default the one the bundle was compiled for.
        output: File to write, for bundles on a read-only disk; by default the bundle's own
            ``exits.json``.
        compare: Another bundle of the same model, or earlier exits of this one, to compare with on
            the same data; nothing is written there.
        progress: Told after every batch.

    Raises:
        BudgetError: The budget is outside what the model can do, or malformed.
        BundleError: The bundle, or what it is compared with, is missing or damaged.
        InputError: The data do not fit the model, the policy does not fit its gate, the data
            cannot bear the guarantee, the bundle does not run such batches, or the other bundle
            is of another model.
        ResourceError: The bundle cannot be written.
        TargetError: The engine is missing or refuses the model.
    """
    wanted = None if budget is None else Budget.parse(budget)
    more = tuple(Budget.parse(value) for value in certify)
    kind = next((each.kind for each in (wanted, *more) if each is not None), cost)
    limit = None if p95 is None else parse_limit(p95)
    if limit is not None:
        asked = {"--budget": budget, "--guarantee": guarantee, "--max-drop": max_drop}
        refuse_beside_limit([name for name, value in asked.items() if value is not None])
        kind = "latency"
    beside = {"--p95": p95, "--guarantee": guarantee}
    batching = parse_batching(batch, mode, kind, beside)
    find_policy(policy)
    promise = _promise(guarantee, wanted, more, kind, max_drop, iid=iid)
    if promise is None and (more or unlabelled is not None):
        raise InputError(
            "budgets to certify and unlabelled data are of use only with a guarantee.",
            hint="add --guarantee 0.95, or leave --certify and --unlabelled out.",
            code="guarantee.missing",
        )
    checks = Checks(wanted, kind, promise, limit, batching)
    opened = Bundle.open(bundle)
    other = None if compare is None else find_counterpart(compare, opened)
    found = gather(
        opened, data, checks, unlabelled, label_free=label_free, target=target, progress=progress
    )
    family = _fitted(found, checks, policy)
    if limit is not None:
        wanted = family.budget
    allowed = DEFAULT_MAX_DROP if max_drop is None else max_drop
    point = point_at(family, wanted) if wanted else recommend(family, kind, allowed)
    table = frontier(family, kind)
    if found.times is not None:
        point, *rest = with_tails((point, *table), found.times)
        table = tuple(rest)
    compared = None
    if other is not None:
        compared = other.compare(
            found, family, point.budget, data, label_free=label_free, progress=progress
        )
    file = found.bundle.write_exits(family, output)
    return Calibration(family, point, table, wanted is None, file, compared)


def _fitted(found: Gathered, checks: Checks, policy: str) -> ExitFamily:
    """Return the family for the objective."""
    records, tables, digest = found.records, found.tables, found.bundle.digest
    if checks.limit is not None and found.times is not None:
        return fit_tail_family(
            records, tables, found.times, checks.limit, policy=policy, manifest_digest=digest
        )
    if found.batches is not None:
        return fit_batch_family(
            records, tables, found.batches, checks.budget, policy=policy, manifest_digest=digest
        )
    if checks.promise is None:
        return fit_family(
            records, tables, policy=policy, budget=checks.budget, manifest_digest=digest
        )
    return fit_certified_family(
        records,
        tables,
        checks.promise,
        policy=policy,
        unlabelled=found.unlabelled,
        manifest_digest=digest,
    )


def _promise(
    confidence: float | None,
    budget: Budget | None,
    certify: tuple[Budget, ...],
    kind: CostKind,
    max_drop: float | None,
    *,
    iid: bool,
) -> Promise | None:
    """Return what is to be certified, or None."""
    if confidence is None:
        return None
    budgets = (*((budget,) if budget else ()), *(each for each in certify if each != budget))
    drop = DEFAULT_MAX_DROP if max_drop is None and not budgets else max_drop
    return Promise(confidence, iid, budgets, drop, kind)


def sweep_exits(
    bundle: str | os.PathLike[str] | Bundle,
    data: Data,
    *,
    cost: CostKind = "flops",
    max_drop: float = DEFAULT_MAX_DROP,
    label_free: bool = False,
    target: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[Sweep, Verdict]:
    """Compare all policies over all budgets on a data set; nothing is written.

    Args:
        bundle: The bundle or its folder.
        data: Labelled data; with ``group``, groups stay whole.
        cost: Which cost to hold against.
        max_drop: Percentage points of quality that what is advised may lose.
        label_free: Ignores the labels: quality is agreement with the last exit.
        target: Device to take records on; by default the one the bundle was compiled for.
        progress: Told after every batch.

    Raises:
        BundleError: The bundle is missing or damaged.
        InputError: The data do not fit the model.
        TargetError: The engine is missing or refuses the model.
    """
    checks = Checks(None, cost, None)
    found = gather(bundle, data, checks, label_free=label_free, target=target, progress=progress)
    swept = sweep(found.records, found.tables[0])
    return swept, judge(swept, max_drop, model_numbers(found.bundle))

"""Budgets held in batches: what is asked for, what is refused, and the family's costs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.batch_costs import BatchCosts, BatchMode
from edgeexit.bundle.exits import CostTable, ExitFamily
from edgeexit.calibrate.costs import checked_table, with_errors
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.policies import DEFAULT_POLICY
from edgeexit.calibrate.records import ExitRecords
from edgeexit.errors import InputError
from edgeexit.runtime.batch_modes import BatchTimes
from edgeexit.runtime.profile import load_or_measure
from edgeexit.runtime.runtime import Runtime

_NOT_IN_BATCHES: Mapping[CostKind, str] = {
    "flops": "one in FLOPs holds in every mode",
    "energy": "energy is measured in single calls only",
    "latency": "",
}
"""Why a kind of budget knows no batches."""


@dataclass(frozen=True)
class Batching:
    """How calls are made that a budget is held in.

    Attributes:
        mode: How a batch runs.
        size: Samples of a batch, two or more.
    """

    mode: Literal["compacted", "whole"]
    size: int


def parse_batching(
    size: int | None, mode: BatchMode | None, kind: CostKind, beside: Mapping[str, object]
) -> Batching | None:
    """Return how calls are made that a budget is held in; None for single calls.

    Args:
        size: Samples of a batch, or None.
        mode: How it runs; None for ``compacted``.
        kind: The kind of the budget.
        beside: By flag, what was asked for that holds in single calls only; None where it was not.

    Raises:
        InputError: They contradict each other or the rest of what is asked for.
    """
    if size is None and mode is None:
        return None
    _check_values(size, mode)
    asked = f"--mode {mode}" if size is None else f"--batch {size}"
    if kind != "latency":
        raise _refused(
            f"{asked} goes with a budget in milliseconds: {_NOT_IN_BATCHES[kind]}.",
            "give --budget in ms, or --cost latency without a budget.",
            "kind",
        )
    if mode == "single" and size not in (None, 1):
        raise _refused(
            f"a single call holds one sample, not {size}.",
            "leave --batch out, or give --mode compacted or --mode whole.",
            "mode",
        )
    if mode == "single" or size == 1:
        return None
    if size is None:
        fault = f"--mode {mode} says how a batch runs, but not how large it is."
        raise _refused(fault, "add the size, for example --batch 32.", "mode")
    refuse_beside_batch([flag for flag, value in beside.items() if value is not None])
    return Batching("compacted" if mode is None else mode, size)


def _check_values(size: object, mode: object) -> None:
    modes = get_args(BatchMode)
    if mode not in (None, *modes):
        raise _refused(f"{mode!r} is no mode of batches.", f"take {', '.join(modes)}.", "mode")
    if size is not None and not (isinstance(size, int) and size >= 1):
        raise _refused(f"a batch of {size!r} is none.", "give a whole number from 2.", "size")


def refuse_beside_batch(others: Sequence[str]) -> None:
    """Refuse what adds costs up sample by sample, which a batch does not.

    Args:
        others: Flags of what was asked for beside ``--batch``.

    Raises:
        InputError: There are any.
    """
    if others:
        names = " and ".join(others)
        raise _refused(
            f"in a batch costs do not add up sample by sample, and {names} would add them up.",
            f"leave out --batch and --mode, or {names}.",
            "with",
        )


def measured_batches(runtime: Runtime, batching: Batching) -> tuple[BatchTimes, CostTable]:
    """Return what samples cost in batches on this device; measures where it was not done.

    All sizes to which a batch may shrink are measured, for the runtime chooses among them by these
    times too.

    Returns:
        The times, and the table of what a sample costs where a whole batch leaves at each exit.

    Raises:
        InputError: Batches of this size do not run at once here.
    """
    buckets = tuple(sorted({1, *runtime.machine.buckets}))
    _check_size(runtime, batching.size, buckets)
    sizes = [size for size in buckets if size <= batching.size]
    profile = load_or_measure(runtime, batches=sizes)
    times = BatchTimes(profile.batches, buckets, batching.mode, batching.size)
    exits = runtime.plan.exits
    table = CostTable(
        "latency",
        tuple(times.each(alone) for alone in np.eye(exits)),
        times.static,
        profile.fingerprint,
        mode=profile.before.mode,
        batch=BatchCosts(batching.mode, batching.size),
    )
    table = with_errors(checked_table(table), [*times.profile.stages, times.profile.call])
    errors = tuple(error / batching.size for error in table.errors)
    return times, replace(table, errors=errors)


def _check_size(runtime: Runtime, size: int, buckets: Sequence[int]) -> None:
    if not runtime.plan.compacts:
        reason = runtime.bundle.manifest.compaction.reason
        raise _refused(
            f"samples of this bundle run one by one ({reason}), so there are no batches of {size}.",
            "leave --batch and --mode out: a budget in ms then holds whatever is given at once.",
            "alone",
        )
    if size in buckets:
        return
    fate = f"cut into parts of {buckets[-1]}" if size > buckets[-1] else "padded"
    raise _refused(
        f"batches of {size} do not run as they are on {runtime.machine.device.name}: they are "
        f"{fate}.",
        f"choose --batch among {', '.join(map(str, buckets[1:]))}.",
        "size",
    )


def fit_batch_family(
    records: ExitRecords,
    costs: Sequence[CostTable],
    times: BatchTimes,
    budget: Budget | None,
    *,
    policy: str = DEFAULT_POLICY,
    manifest_digest: str = "",
) -> ExitFamily:
    """Return a family whose knob is laid out by what samples cost in batches.

    Policies want costs that add up. They get those of a full batch, a sample's part in each stage,
    and fit the shape at the mean of these costs that the draft's knob has where the batch costs
    the budget.

    Args:
        records: Exit records.
        costs: Cost tables, that of the batch first.
        times: What exit shares cost in batches.
        budget: The budget wanted, in milliseconds a sample, or None.
        policy: Name of the exit policy.
        manifest_digest: Digest of the manifest of the bundle the records came from.

    Raises:
        BudgetError: The budget is outside what the model can do.
        InputError: A table does not fit the records, or the policy does not fit the gate.
    """
    lead, *others = costs
    plain = [replace(lead, batch=None), *others]
    added_up = None
    if budget is not None:
        draft = fit_family(records, plain, policy=policy)
        position = _in_batches(draft, lead, times).position(budget)
        rows = np.arange(len(draft.quality))
        added_up = Budget(float(np.interp(position, rows, draft.curve("latency"))), "latency")
    fitted = fit_family(
        records, plain, policy=policy, budget=added_up, manifest_digest=manifest_digest
    )
    return replace(_in_batches(fitted, lead, times), budget=budget)


def _in_batches(family: ExitFamily, lead: CostTable, times: BatchTimes) -> ExitFamily:
    """Return the family with the cost of every row in batches."""
    assert lead.batch is not None  # this is what the table was made for
    costs = np.maximum.accumulate([times.each(shares) for shares in family.shares])
    batch = replace(lead.batch, per_row=tuple(float(cost) for cost in costs))
    return replace(family, costs={**family.costs, "latency": replace(lead, batch=batch)})


def _refused(fault: str, hint: str, code: str) -> InputError:
    return InputError(fault, hint=hint, code=f"batch.{code}")

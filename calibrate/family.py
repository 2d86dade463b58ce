"""From exit records and cost tables to an exit family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.exits import CostTable, ExitFamily
from edgeexit.calibrate.costs import check_budget, checked_table, reference_budget
from edgeexit.calibrate.nesting import gate_scores, measure
from edgeexit.calibrate.policies import DEFAULT_POLICY, Policy, find_policy
from edgeexit.calibrate.records import ExitRecords
from edgeexit.errors import BudgetError, InputError

Array = npt.NDArray[np.float64]

SHAPE_SAMPLES = 50_000
"""Samples a shape is fitted on; the cost curve is measured on all."""

LEAP = 0.02
"""Part of the range of costs by which two neighbouring rows may differ. Where more samples move at
once their scores tie, and thresholds between the rows would move all of them or none."""

FEW = 4
"""Samples that may move at once however few there are."""


def fit_family(
    records: ExitRecords,
    costs: Sequence[CostTable],
    *,
    policy: str | Policy = DEFAULT_POLICY,
    budget: Budget | None = None,
    manifest_digest: str = "",
    seed: int = 0,
) -> ExitFamily:
    """Return the family of operating points that a policy fits to these records.

    The shape is fitted at the budget, or in the middle of the cost range, on at most 50,000
    samples. Every row is then measured on all samples. Where many scores tie, budgets between
    two rows snap down to the cheaper one.

    Args:
        records: Exit records from the compiled gates.
        costs: One table a kind, the one that matters without a budget first.
        policy: A policy or its name.
        budget: The budget wanted, or None.
        manifest_digest: Digest of the manifest of the bundle the records came from.
        seed: Draws the samples a shape is fitted on.

    Raises:
        BudgetError: The budget is outside what the model can do, or of a kind without costs.
        InputError: A table does not fit the records, or the policy does not fit the gate.
    """
    chosen = find_policy(policy) if isinstance(policy, str) else policy
    tables = {table.kind: checked_table(table) for table in costs}
    lead = leading_table(tables, records.num_exits, budget)
    if budget is not None:
        check_budget(budget, lead)
    shape = chosen.fit(
        _sample(records, seed), np.asarray(lead.per_exit), reference_budget(budget, lead)
    )
    scores = gate_scores(records, shape.params)
    shares, quality = measure(scores, shape.thresholds, records.quality)
    leaps = _leaps(shares @ np.asarray(lead.per_exit), len(records))
    return ExitFamily(
        policy=chosen.name,
        manifest_digest=manifest_digest,
        gate=records.gate.name,
        gate_version=records.gate.version,
        params=shape.params,
        thresholds=shape.thresholds,
        shares=shares,
        quality=quality,
        quality_kind=records.quality_kind,
        per_exit_quality=records.quality.mean(axis=0, dtype=np.float64),
        discrete=chosen.discrete or leaps,
        costs=tables,
        samples=len(records),
        data_sha256=records.data_sha256,
        budget=budget,
    )


def _leaps(curve: Array, samples: int) -> bool:
    """Return whether neighbouring rows lie too far apart for what lies between them to be known."""
    allowed = max(LEAP, FEW / samples) * (curve[-1] - curve[0])
    return bool(np.diff(curve).max() > allowed)


def remeasured(family: ExitFamily, records: ExitRecords) -> ExitFamily:
    """Return the family with every row measured on other records."""
    shares, quality = measure(
        gate_scores(records, family.params), family.thresholds, records.quality
    )
    return replace(
        family,
        shares=shares,
        quality=quality,
        per_exit_quality=records.quality.mean(axis=0, dtype=np.float64),
        samples=len(records),
    )


def leading_table(
    tables: Mapping[CostKind, CostTable], exits: int, budget: Budget | None
) -> CostTable:
    """Return the table that decides: the budget's kind, or the first one.

    Raises:
        BudgetError: There is no table of the budget's kind.
        InputError: There is no table, or one does not fit the number of exits.
    """
    for table in tables.values():
        if len(table.per_exit) != exits:
            raise InputError(
                f"the {table.kind} costs are of {len(table.per_exit)} exits, the records of "
                f"{exits}; right is one cost an exit.",
                hint="take records and costs from the same bundle.",
                code="costs.exits",
            )
    if not tables:
        raise InputError(
            "there is no cost table; right is one a kind.",
            hint="pass flops_table(manifest).",
            code="costs.missing",
        )
    if budget is None:
        return next(iter(tables.values()))
    if budget.kind not in tables:
        raise BudgetError(
            f"budget {budget} is of kind {budget.kind}, but there are only costs of kind "
            f"{' and '.join(tables)}.",
            hint=f"measure costs of kind {budget.kind}, or give the budget in another unit.",
            code="budget.kind",
        )
    return tables[budget.kind]


def _sample(records: ExitRecords, seed: int) -> ExitRecords:
    """Return at most 50,000 of the records, drawn without replacement."""
    if len(records) <= SHAPE_SAMPLES:
        return records
    drawn = np.random.default_rng(seed).choice(len(records), SHAPE_SAMPLES, replace=False)
    return records.take(np.sort(drawn))

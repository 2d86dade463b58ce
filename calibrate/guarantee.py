"""Exit families whose mean cost, and loss of quality, are certified for data like these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from statistics import NormalDist

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.certificate import Certificate, CertifiedBudget
from edgeexit.bundle.exits import CostTable, ExitFamily
from edgeexit.calibrate.costs import check_budget, upper_costs
from edgeexit.calibrate.evidence import Tested, prove_costs, prove_drops
from edgeexit.calibrate.family import fit_family, leading_table, remeasured
from edgeexit.calibrate.nesting import Array
from edgeexit.calibrate.policies import DEFAULT_POLICY, Policy
from edgeexit.calibrate.promise import Promise, check_promise
from edgeexit.calibrate.records import ExitRecords
from edgeexit.calibrate.units import split_units, unit_numbers
from edgeexit.errors import InputError

SHAPE_SHARE = 0.3
"""Of the labelled units, the share that fits the shape; the others set the knob."""

ERROR_SHARE = 0.1
"""Of the probability of being wrong, the share kept for the error bars of measured costs."""

GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Budgets that are certified where none is named, in fractions of the static model."""

SAFETY = 1.2
"""What the bets need above the normal approximation, to estimate how many units would do."""

LEAST_GAIN = 0.5
"""A certified setting must spend this share of what a budget leaves above exit 1."""


def fit_certified_family(
    records: ExitRecords,
    costs: Sequence[CostTable],
    promise: Promise,
    *,
    policy: str | Policy = DEFAULT_POLICY,
    unlabelled: ExitRecords | None = None,
    manifest_digest: str = "",
    seed: int = 0,
) -> ExitFamily:
    """Return a family with a certificate.

    The shape is fitted on some of the units, the knob is set on the others and on the unlabelled
    ones. Along the knob, from cheap to dear, each setting is tested at the limit; the dearest one
    before the first failure is certified, without a union bound over settings, since a false
    certificate needs the first false setting to pass (fixed-sequence testing, Maurer et al., 1995;
    for risk control Angelopoulos et al., "Learn then Test", 2021). Several statements share the
    probability of being wrong evenly.

    Args:
        records: Labelled records, with ``group`` unless the promise says ``iid``.
        costs: One table a kind, the one that matters without a budget first.
        promise: What to certify.
        policy: A policy or its name.
        unlabelled: Further records, of which only the costs count.
        manifest_digest: Digest of the manifest of the bundle the records came from.
        seed: Splits the units and orders them.

    Raises:
        BudgetError: A budget is outside what the model can do.
        InputError: It is not said what is independent, or there are too few units; the message
            says how many would do.
    """
    check_promise(promise, records, unlabelled)
    reference = promise.budgets[0] if promise.budgets else None
    tables = {table.kind: table for table in costs}
    lead = leading_table(tables, records.num_exits, reference)
    fitting, setting = split_units(records, SHAPE_SHARE, seed)
    draft = fit_family(fitting, costs, policy=policy, budget=reference)
    parts = [setting] if unlabelled is None else [setting, _apart(unlabelled, fitting)]
    certificate = _certificate(draft, parts, lead, promise, seed)
    return replace(
        remeasured(draft, records), certificate=certificate, manifest_digest=manifest_digest
    )


def _certificate(
    draft: ExitFamily, parts: list[ExitRecords], lead: CostTable, promise: Promise, seed: int
) -> Certificate:
    """Return what these units prove of a family that was fitted on others."""
    alpha = 1 - promise.confidence
    upper = upper_costs(lead, ERROR_SHARE * alpha)
    alpha *= 1 - ERROR_SHARE if any(lead.errors) else 1
    budgets = sorted(promise.budgets or _grid(lead, upper), key=lambda each: each.value)
    alpha /= len(budgets) + (promise.max_drop is not None)
    entries = [CertifiedBudget(Budget(float(upper[0]), lead.kind), 0.0)]
    for budget in budgets:
        check_budget(budget, replace(lead, per_exit=tuple(upper.tolist())))
        tested = prove_costs(draft, parts, upper, budget.value, alpha, seed)
        entry = _entry(tested, budget, float(upper[0]))
        if entry is None and promise.budgets:
            raise _too_few(tested, budget, lead, upper, alpha, promise.confidence, parts[0])
        entries += [entry] if entry else []
    last = CertifiedBudget(Budget(float(upper[-1]), lead.kind), float(len(draft.thresholds) - 1))
    return Certificate(
        confidence=promise.confidence,
        unit="sample" if parts[0].group is None else "group",
        units=len(np.unique(np.concatenate(unit_numbers(parts)))),
        unlabelled=sum(len(part) for part in parts[1:]),
        budgets=(*entries, last),
        max_drop=promise.max_drop,
        drop_position=_drop_position(draft, parts[0], promise.max_drop, alpha, seed),
    )


def _entry(tested: Tested, budget: Budget, least: float) -> CertifiedBudget | None:
    """Return the certified budget, or None where the units prove too little to be of use."""
    reach = _reach(tested, budget, least)
    if reach <= least:
        return CertifiedBudget(budget, 0.0)  # a policy with few settings has none in between
    last = tested.last
    if last is None or tested.mean[last] - least < LEAST_GAIN * (reach - least):
        return None
    return CertifiedBudget(budget, float(tested.positions[last]))


def _reach(tested: Tested, budget: Budget, least: float) -> float:
    """Return the mean cost of the dearest setting that seems to keep the budget."""
    inside = tested.mean[tested.mean <= budget.value]
    return float(inside.max()) if len(inside) else least


def _drop_position(
    draft: ExitFamily, setting: ExitRecords, max_drop: float | None, alpha: float, seed: int
) -> float | None:
    """Return the cheapest position from which on the drop is certified; the last loses nothing."""
    if max_drop is None:
        return None
    tested = prove_drops(draft, setting, max_drop / 100, alpha, seed)
    return float(tested.positions[tested.last or 0])


def _grid(lead: CostTable, upper: Array) -> tuple[Budget, ...]:
    """Return every tenth of the static model that lies between the costs of the exits."""
    values = [share * lead.static for share in GRID]
    inside = [value for value in values if upper[0] < value < upper[-1]]
    return tuple(Budget(value, lead.kind) for value in inside)


def _apart(unlabelled: ExitRecords, fitting: ExitRecords) -> ExitRecords:
    """Return the unlabelled samples of units that the shape was not fitted on."""
    if unlabelled.group is None or fitting.group is None:
        return unlabelled
    return unlabelled.take(np.flatnonzero(~np.isin(unlabelled.group, fitting.group)))


def _too_few(
    tested: Tested,
    budget: Budget,
    lead: CostTable,
    upper: Array,
    alpha: float,
    confidence: float,
    part: ExitRecords,
) -> InputError:
    """Return the refusal, with a number of units that would do."""
    least = float(upper[0])
    margin = (1 - LEAST_GAIN) * (_reach(tested, budget, least) - least)
    place = int(np.argmin(np.abs(tested.mean - budget.value)))
    z = NormalDist().inv_cdf(1 - alpha)
    normal = (SAFETY * z * float(tested.deviation[place]) / margin) ** 2
    skewed = float(upper[-1] - upper[0]) * np.log(1 / alpha) / margin
    wanted = ceil(normal + skewed)
    what = "samples" if part.group is None else "groups"
    return InputError(
        f"{tested.units} {what} are too few to certify {lead.stated(budget.value)} with confidence "
        f"{confidence:g}; "
        f"about {wanted} would do for setting the knob, which gets "
        f"{100 * (1 - SHAPE_SHARE):.0f} % of the labelled ones and all unlabelled ones.",
        hint=f"give {ceil(wanted / (1 - SHAPE_SHARE))} labelled {what}, add unlabelled ones with "
        "--unlabelled, or choose a larger budget.",
        code="guarantee.samples",
    )

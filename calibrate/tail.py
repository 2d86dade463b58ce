"""The dearest setting whose 95th percentile of time stays within a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable, ExitFamily, TailLimit
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.frontier import OperatingPoint, point_at
from edgeexit.calibrate.policies import DEFAULT_POLICY
from edgeexit.calibrate.records import ExitRecords
from edgeexit.errors import BudgetError, InputError
from edgeexit.runtime.call_times import CallTimes

LEVEL = 0.95
"""The fraction of calls that stay within the limit."""

_ROUNDING = 1e-9


def parse_limit(limit: Budget | str) -> float:
    """Return the milliseconds of a limit such as ``"12ms"``.

    Raises:
        BudgetError: It is no time.
    """
    parsed = Budget.parse(limit)
    if parsed.kind != "latency":
        raise BudgetError(
            f"{parsed.typed!r} is no limit for the 95th percentile of time: one is in ms.",
            hint="write for example --p95 12ms.",
            code="p95.syntax",
        )
    return parsed.value


def refuse_beside_limit(others: Sequence[str]) -> None:
    """Refuse a limit beside other objectives.

    Args:
        others: Flags of what was asked for beside it.

    Raises:
        InputError: There are any.
    """
    if others:
        names = " and ".join(others)
        raise InputError(
            f"--p95 chooses the setting by itself, and {names} would choose another.",
            hint=f"leave out --p95, or {names}.",
            code="p95.with",
        )


def check_limit(limit: float, times: CallTimes, shares: Sequence[float] | None = None) -> None:
    """Refuse a limit that not even the cheapest setting keeps.

    Args:
        limit: Milliseconds.
        times: How long calls take here.
        shares: Where samples leave at the cheapest setting; all at exit 1 if None.

    Raises:
        BudgetError: It is too low; the message names the least that would do.
    """
    first = [1.0] + [0.0] * (len(times.exits) - 1) if shares is None else shares
    least = times.percentile(first, LEVEL)
    if limit >= least * (1 - _ROUNDING):
        return
    # Rounded up, so that what the message names is not refused in turn.
    enough = float(f"{1.001 * least:.4g}")
    raise BudgetError(
        f"no setting keeps the 95th percentile of time within {limit:g} ms: of the calls that "
        f"leave at exit 1, 95 % take up to {least:.4g} ms.",
        hint=f"give --p95 {enough:g}ms or more.",
        code="p95.bounds",
    )


def fit_tail_family(
    records: ExitRecords,
    costs: Sequence[CostTable],
    times: CallTimes,
    limit: float,
    *,
    policy: str = DEFAULT_POLICY,
    manifest_digest: str = "",
) -> ExitFamily:
    """Return a family whose budget is its dearest setting within a limit on the 95th percentile.

    The shape is fitted twice: in the middle of the range, which tells about where the setting will
    lie, and then there.

    Args:
        records: Exit records.
        costs: Cost tables, that of latency first.
        times: How long calls take that leave at each exit.
        limit: Milliseconds that 95 % of the calls take at most.
        policy: Name of the exit policy.
        manifest_digest: Digest of the manifest of the bundle the records came from.

    Raises:
        BudgetError: Not even the cheapest setting keeps the limit.
        InputError: A table does not fit the records, or the policy does not fit the gate.
    """
    draft = fit_family(records, costs, policy=policy)
    budget = Budget(_cost_at(draft, tail_position(draft, times, limit)), "latency")
    family = fit_family(
        records, costs, policy=policy, budget=budget, manifest_digest=manifest_digest
    )
    budget = Budget(_cost_at(family, tail_position(family, times, limit)), "latency")
    reached = times.percentile(point_at(family, budget).shares, LEVEL)
    return replace(family, budget=budget, tail=TailLimit(LEVEL, limit, min(reached, limit)))


def tail_position(family: ExitFamily, times: CallTimes, limit: float) -> float:
    """Return the dearest position of the knob whose 95th percentile of time is within a limit.

    With the fractions s_k(p) of samples that leave at exit k at position p, and F_k the
    distribution of the time of a call that leaves there, the 95th percentile is at most L exactly
    where ``sum_k s_k(p) F_k(L) >= 0.95``. The sum falls as p rises, since F_k(L) falls with k and
    samples leave later, and it is linear between rows, as the fractions are.

    Args:
        family: The calibrated exits.
        times: How long calls take that leave at each exit.
        limit: L, in milliseconds.

    Raises:
        BudgetError: Not even the cheapest row keeps the limit.
    """
    check_limit(limit, times, family.shares[0].tolist())
    within = np.minimum.accumulate(family.shares @ times.shares_within(limit))
    # Where the first row keeps the limit by rounding only, it is the answer.
    row = max(int(np.count_nonzero(within >= LEVEL - _ROUNDING)), 1) - 1
    if family.discrete or row == len(within) - 1:
        return float(row)
    fall = float(within[row] - within[row + 1])
    return row + min(max(float(within[row] - LEVEL) / fall, 0.0), 1.0)


def with_tails(points: Sequence[OperatingPoint], times: CallTimes) -> tuple[OperatingPoint, ...]:
    """Return operating points with the 95th percentile of time that is forecast for each."""
    return tuple(replace(point, p95=times.percentile(point.shares, LEVEL)) for point in points)


def _cost_at(family: ExitFamily, position: float) -> float:
    """Return the mean latency at a position of the knob."""
    rows = np.arange(len(family.quality))
    return float(np.interp(position, rows, family.curve("latency")))

"""``exits.json``: the calibrated exit family, one shape and one nested knob."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.batch_costs import BatchCosts
from edgeexit.bundle.certificate import Certificate, CertifiedBudget
from edgeexit.errors import BudgetError, BundleError

Array = npt.NDArray[np.float64]

_SHARES_TOLERANCE = 1e-6


@dataclass(frozen=True)
class CostTable:
    """What leaving at each exit costs.

    Attributes:
        kind: ``flops`` (fractions of the static model), ``latency`` (milliseconds) or ``energy``
            (millijoules beyond idle).
        per_exit: Cumulative cost ``c_k`` of leaving at exit k, length K. In batches, where costs
            do not add up, that of a sample where all of its batch leave there.
        static: Cost of the whole static model in the same unit; of a sample, in batches.
        fingerprint: The device on which a latency or an energy was measured; empty for FLOPs.
        errors: Standard error of each cost, length K; empty where costs are counted, or unknown.
        estimated: Whether an energy comes from a model of the device and not from a sensor.
        mode: The power mode of the device when it was measured; empty where unknown.
        batch: What a sample costs in batches; None where the costs are those of single calls, or
            hold in any batch, as FLOPs do.
    """

    kind: CostKind
    per_exit: tuple[float, ...]
    static: float
    fingerprint: str = ""
    errors: tuple[float, ...] = ()
    estimated: bool = False
    mode: str = ""
    batch: BatchCosts | None = None

    def stated(self, value: float) -> str:
        """Return a cost of this kind in words, marked where it is estimated, or one of batches."""
        mark = "estimated" if self.estimated else "" if self.batch is None else str(self.batch)
        return f"{Budget(value, self.kind)}{f' ({mark})' if mark else ''}"


@dataclass(frozen=True)
class TailLimit:
    """A limit on the time of single calls, which chose the budget that a family was calibrated at.

    Attributes:
        level: Fraction of calls that are to keep the limit, such as 0.95.
        limit: Milliseconds that a call of one sample may take.
        reached: That percentile at the budget, in milliseconds, as calibration forecast it.
    """

    level: float
    limit: float
    reached: float


@dataclass(frozen=True)
class ExitSettings:
    """What the runtime takes for one call: gate parameters and thresholds of K - 1 gates.

    Attributes:
        params: One ``(P_k,) float32`` array a gate.
        thresholds: ``(K - 1,) float32``; exit where ``score >= threshold``.
    """

    params: tuple[npt.NDArray[np.float32], ...]
    thresholds: npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExitFamily:
    """All calibrated operating points of one bundle.

    The *shape* is a parameter vector a gate. The *knob* moves all thresholds together: row m of
    ``thresholds`` leaves no later than row m + 1 for every input, so mean cost rises with m.

    Attributes:
        policy: Name of the policy that fitted it.
        manifest_digest: Digest of the manifest of the bundle it belongs to.
        gate: Name of the gate it parametrises, and its feature version.
        gate_version: Version of that gate's feature list.
        params: One parameter tuple a gate, K - 1 of them.
        thresholds: ``(M, K - 1)``, each column non-decreasing in m.
        shares: ``(M, K)`` fractions of the calibration set that leave at each exit.
        quality: ``(M,)`` mean quality (accuracy where labels were given) on the calibration set.
        quality_kind: ``accuracy`` or ``agreement`` (with the last exit, without labels).
        per_exit_quality: ``(K,)`` mean quality when everything leaves at exit k.
        discrete: True where scores have few values, so a budget snaps down to a row.
        costs: A cost table a kind.
        samples: Number of calibration samples.
        data_sha256: Digest of the calibration data.
        budget: The budget it was calibrated at, or None.
        certificate: What it is certified to keep, or None. Where there is one, a budget snaps
            down to the largest certified one.
        tail: The limit on the time of single calls that ``budget`` was chosen by, or None.

    Raises:
        BundleError: The parts disagree in size, a number is not finite, or a row of thresholds
            leaves later than the row after it.
    """

    policy: str
    manifest_digest: str
    gate: str
    gate_version: int
    params: tuple[tuple[float, ...], ...]
    thresholds: Array
    shares: Array
    quality: Array
    quality_kind: str
    per_exit_quality: Array
    discrete: bool
    costs: Mapping[CostKind, CostTable]
    samples: int
    data_sha256: str
    budget: Budget | None
    certificate: Certificate | None = None
    tail: TailLimit | None = None

    def __post_init__(self) -> None:
        """Check that the parts agree; see the class."""
        _check_family(self)

    def curve(self, kind: CostKind) -> Array:
        """Return the mean cost ``(M,)`` of every row, non-decreasing.

        Raises:
            BudgetError: The family has no costs of that kind.
        """
        if kind not in self.costs:
            raise BudgetError(
                f"this bundle was calibrated for {' and '.join(sorted(self.costs))}, not {kind}.",
                hint=f"calibrate again with a budget of kind {kind} on this device.",
                code="budget.kind",
            )
        table = self.costs[kind]
        if table.batch is not None:
            return np.asarray(table.batch.per_row)
        cost: Array = self.shares @ np.asarray(table.per_exit)
        return np.maximum.accumulate(cost)

    def stated(self, budget: Budget) -> str:
        """Return a budget in words, marked as :meth:`CostTable.stated` does."""
        table = self.costs.get(budget.kind)
        return str(budget) if table is None else table.stated(budget.value)

    def certified(self, budget: Budget) -> CertifiedBudget | None:
        """Return the certified budget in whose place ``budget`` stands; None without a certificate.

        Raises:
            BudgetError: ``budget`` is below all of them, or of another kind.
        """
        return None if self.certificate is None else self.certificate.at(budget, self.stated)

    def position(self, budget: Budget) -> float:
        """Return the knob, a position in [0, M - 1] between rows, whose mean cost is ``budget``.

        With a certificate it is that of the largest certified budget that is not above it.

        Raises:
            BudgetError: The budget is below the cheapest or above the dearest row, or of a kind
                that was not calibrated or not certified.
        """
        curve = self.curve(budget.kind)
        low, high = float(curve[0]), float(curve[-1])
        if self.certificate is not None:
            # Measured costs are certified with their error bars, and so beyond the curve's end.
            high = max(high, self.certificate.budgets[-1].budget.value)
        tolerance = 1e-6 * high
        if not low - tolerance <= budget.value <= high + tolerance:
            table = self.costs[budget.kind]
            raise BudgetError(
                f"budget {budget} is outside what this model can do: its exits cost from "
                f"{table.stated(low)} to {table.stated(high)} on average.",
                hint="choose a budget between the two.",
                code="budget.bounds",
            )
        certified = self.certified(budget)
        if certified is not None:
            return certified.position
        value = min(max(budget.value, low), high)
        row = int(np.searchsorted(curve, value, side="right")) - 1
        if self.discrete or row == len(curve) - 1:
            return float(row)
        return row + (value - float(curve[row])) / float(curve[row + 1] - curve[row])

    def settings(self, budget: Budget) -> ExitSettings:
        """Return gate parameters and thresholds whose mean cost is ``budget``.

        Raises:
            BudgetError: As :meth:`position`.
        """
        params = tuple(np.asarray(vector, dtype=np.float32) for vector in self.params)
        return ExitSettings(params, mixed_thresholds(self.thresholds, self.position(budget)))


def mixed_thresholds(table: Array, position: float) -> npt.NDArray[np.float32]:
    """Return the thresholds ``(K - 1,)`` at a position between two rows of ``(M, K - 1)``.

    Rounding to float32 keeps the order of positions, so what is nested stays nested.
    """
    row = min(int(position), len(table) - 2) if len(table) > 1 else 0
    weight = position - row
    upper = table[min(row + 1, len(table) - 1)]
    low = table[row]
    mixed: Array = low if weight == 0 else np.minimum(low + weight * (upper - low), upper)
    return mixed.astype(np.float32)


def _require(holds: bool | np.bool_, field: str, fault: str) -> None:
    if not holds:
        raise BundleError(
            f"exit family: {field} {fault}",
            hint="calibrate the bundle again.",
            code="exits.invalid",
        )


def _check_family(family: ExitFamily) -> None:
    _require(family.thresholds.ndim == 2, "thresholds", "must have two axes, (M, K - 1).")
    rows, gates = family.thresholds.shape
    _require(rows >= 1 and gates >= 1, "thresholds", f"are {rows} x {gates}; both must be >= 1.")
    shapes = {
        "shares": (family.shares, (rows, gates + 1)),
        "quality": (family.quality, (rows,)),
        "per_exit_quality": (family.per_exit_quality, (gates + 1,)),
        "thresholds": (family.thresholds, (rows, gates)),
    }
    for field, (array, shape) in shapes.items():
        _require(array.shape == shape, field, f"must have shape {shape}, has {array.shape}.")
        _require(np.isfinite(array).all(), field, "must hold finite numbers only.")
    in_float32 = np.abs(family.thresholds).max() <= np.finfo(np.float32).max
    _require(in_float32, "thresholds", "must fit in float32.")
    ordered = (np.diff(family.thresholds, axis=0) >= 0).all()
    _require(ordered, "thresholds", "must not fall from one row to the next.")
    whole = np.abs(family.shares.sum(axis=1) - 1).max() <= _SHARES_TOLERANCE
    shares = (family.shares >= 0).all() and whole
    _require(shares, "shares", "must be fractions that add up to 1 in every row.")
    counted = len(family.params)
    _require(counted == gates, "params", f"must have {gates} vectors, one a gate, has {counted}.")
    finite = all(bool(np.isfinite(np.asarray(vector)).all()) for vector in family.params)
    _require(finite, "params", "must hold finite numbers only.")
    _require(family.samples >= 1, "samples", f"must be at least 1, is {family.samples}.")
    positive = family.budget is None or 0 < family.budget.value < np.inf
    _require(positive, "budget", f"must be positive, is {family.budget}.")
    _require(bool(family.costs), "costs", "must hold at least one table.")
    for kind, table in family.costs.items():
        _check_costs(kind, table, gates + 1)
        if table.batch is not None:
            _check_batch(table.batch, kind, rows)
    if family.certificate is not None:
        _check_certificate(family.certificate, rows, family)
    if family.tail is not None:
        _check_tail(family.tail, family)


def _check_tail(tail: TailLimit, family: ExitFamily) -> None:
    _require(0 < tail.level < 1, "tail", f"is of the level {tail.level}, not between 0 and 1.")
    kept = 0 < tail.reached <= tail.limit < np.inf
    _require(kept, "tail", f"reaches {tail.reached} ms of a limit of {tail.limit} ms.")
    timed = family.budget is not None and family.budget.kind == "latency" in family.costs
    _require(timed, "tail", "must come with a budget, and costs, in milliseconds.")


def _check_certificate(certificate: Certificate, rows: int, family: ExitFamily) -> None:
    field = "certificate"
    _require(0 < certificate.confidence < 1, field, "must have a confidence between 0 and 1.")
    _require(certificate.units >= 1, field, f"must have units, has {certificate.units}.")
    _require(certificate.unlabelled >= 0, field, f"counts {certificate.unlabelled} samples.")
    _require(bool(certificate.budgets), field, "must hold at least one budget.")
    kinds = {entry.budget.kind for entry in certificate.budgets}
    _require(kinds <= set(family.costs) and len(kinds) == 1, field, f"is of kinds {sorted(kinds)}.")
    additive = all(family.costs[kind].batch is None for kind in kinds)
    _require(additive, field, "is of costs in batches, which do not add up sample by sample.")
    values = [entry.budget.value for entry in certificate.budgets]
    positions = [entry.position for entry in certificate.budgets]
    _require(values == sorted(values) and values[0] > 0, field, "must have rising budgets.")
    ordered = positions == sorted(positions) and 0 <= positions[0] <= positions[-1] <= rows - 1
    _require(ordered, field, f"must have rising positions from 0 to {rows - 1}.")
    together = (certificate.max_drop is None) == (certificate.drop_position is None)
    _require(together, field, "must have both of max_drop and drop_position, or neither.")
    if certificate.drop_position is not None:
        inside = 0 <= certificate.drop_position <= rows - 1
        _require(inside, field, f"must have a drop_position from 0 to {rows - 1}.")


def _check_costs(kind: CostKind, table: CostTable, exits: int) -> None:
    field = f"costs[{kind}]"
    _require(table.kind == kind, field, f"is a table of kind {table.kind}.")
    counted = len(table.per_exit)
    _require(counted == exits, field, f"must have {exits} costs, one an exit, has {counted}.")
    costs = np.asarray((*table.per_exit, table.static))
    positive = (np.isfinite(costs) & (costs > 0)).all()
    _require(positive, field, "must hold positive, finite numbers only.")
    errors = np.asarray(table.errors)
    sound = len(errors) in (0, exits) and bool((np.isfinite(errors) & (errors >= 0)).all())
    _require(sound, field, f"must have no errors or {exits} that are not negative.")
    modelled = kind == "energy" or not table.estimated
    _require(modelled, field, "is estimated; only energies may be.")


def _check_batch(batch: BatchCosts, kind: CostKind, rows: int) -> None:
    field = f"costs[{kind}].batch"
    _require(kind == "latency", field, "is there; only times are known in batches.")
    _require(batch.size >= 2, field, f"has a size of {batch.size}; 2 is the least.")
    counted = len(batch.per_row)
    _require(counted == rows, field, f"must have {rows} costs, one a row, has {counted}.")
    costs = np.asarray(batch.per_row)
    sound = (np.isfinite(costs) & (costs > 0)).all() and (np.diff(costs) >= 0).all()
    _require(sound, field, "must hold positive, finite numbers that do not fall.")

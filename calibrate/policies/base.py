"""What an exit policy is: a shape for the gates' parameters and a nested family of thresholds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgeexit.calibrate.records import ExitRecords, GateLayout
from edgeexit.errors import InputError

Array = npt.NDArray[np.float64]
Params = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Shape:
    """What a policy fits.

    Attributes:
        params: One parameter vector a gate, K - 1 of them; values that float32 can hold.
        thresholds: ``(M, K - 1)`` values that float32 can hold, each column non-decreasing. In
            the first row every sample leaves at exit 1, in the last row at exit K.
    """

    params: Params
    thresholds: Array


class Policy(ABC):
    """A way to choose when to exit; stateless.

    Attributes:
        name: The name that users write.
        gates: Names of the gates it can parametrise.
        needs: Names of the gate features without which it cannot work.
        discrete: True where scores have few values, so that a budget snaps down to a row.
    """

    name: ClassVar[str]
    gates: ClassVar[tuple[str, ...]]
    needs: ClassVar[tuple[str, ...]]
    discrete: ClassVar[bool] = False

    def suits(self, gate: GateLayout) -> bool:
        """Return whether the policy can use a gate."""
        return gate.name in self.gates and set(self.needs) <= set(gate.features)

    def fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        """Return the shape for these records.

        Args:
            records: Exit records; some 50,000 are plenty.
            costs: ``(K,)`` cumulative costs, rising.
            reference: The mean cost, in [c_1, c_K], at which the shape is fitted.

        Raises:
            InputError: The records come from a gate that the policy cannot use.
            ValueError: The policy broke its contract (a bug).
        """
        gate = records.gate
        missing = [name for name in self.needs if name not in gate.features]
        if not self.suits(gate):
            lack = f" with features {', '.join(missing)}" if missing else ""
            raise InputError(
                f"policy {self.name} cannot use this model's gate {gate.name!r}; it needs "
                f"{' or '.join(self.gates)}{lack}.",
                hint=f"compile with `--gate {self.gates[0]}`, or choose another policy.",
                code="policy.gate",
            )
        shape = self._fit(records, np.asarray(costs, dtype=np.float64), float(reference))
        self._check(shape, records.num_exits - 1)
        return shape

    @abstractmethod
    def _fit(self, records: ExitRecords, costs: Array, reference: float) -> Shape:
        """Fit; the gate has been checked."""

    def _check(self, shape: Shape, gates: int) -> None:
        """Hold the fitted shape against the contract."""
        table = shape.thresholds
        nested = (
            table.ndim == 2
            and table.shape[1] == gates
            and bool((np.diff(table, axis=0) >= 0).all())
        )
        values = np.concatenate([table.ravel(), np.concatenate(shape.params)])
        exact = bool(np.isfinite(values).all() and (values.astype(np.float32) == values).all())
        if not nested or not exact or len(shape.params) != gates:
            raise ValueError(f"policy {self.name} fitted a family that is not nested and finite")


def weighed(records: ExitRecords, weights: dict[str, float]) -> tuple[float, ...]:
    """Return a gate's parameter vector that gives the named features these weights, others 0."""
    values = (*records.gate.prefix, *(weights.get(name, 0.0) for name in records.gate.features))
    return tuple(float(np.float32(value)) for value in values)

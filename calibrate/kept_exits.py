"""Records and costs of a model some of whose exits are cut, from those of the model with all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeexit.bundle.exits import CostTable
from edgeexit.bundle.specs import Manifest
from edgeexit.calibrate.nesting import Integers
from edgeexit.calibrate.records import ExitRecords, Floats
from edgeexit.errors import InputError

_ALONE = ("bias", "log_odds", "log_odds_squared", "margin", "entropy", "energy")
"""Gate features that look at one exit's logits, whatever exits there are before it."""

_COMPARING = ("agree_previous", "previous_log_odds", "agree_log_odds", "agree_fraction")
"""Gate features that look at the exits before."""

_PATIENCE = "agreements"


@dataclass(frozen=True)
class ExitFlops:
    """What the parts of a model with K exits cost, to be added up for any subset of them.

    Attributes:
        needed: FLOPs of one sample by the exits, from 1, that need them.
        gates: FLOPs of the K - 1 gates.
    """

    needed: Mapping[tuple[int, ...], int]
    gates: tuple[int, ...]

    @property
    def exits(self) -> int:
        """K."""
        return len(self.gates) + 1

    @property
    def static(self) -> int:
        """FLOPs of the static model: all that the last exit needs."""
        return sum(count for users, count in self.needed.items() if self.exits in users)

    def spent(self, kept: Sequence[int]) -> tuple[int, ...]:
        """Return the cumulative FLOPs of leaving at each of the kept exits.

        An operation runs before the first kept exit that needs it; all but the last kept exit
        have a gate.
        """
        parts = dict.fromkeys(kept, 0)
        for users, count in self.needed.items():
            first = next((number for number in users if number in parts), None)
            if first is not None:
                parts[first] += count
        for number in kept[:-1]:
            parts[number] += self.gates[number - 1]
        return tuple(int(value) for value in np.cumsum(list(parts.values())))

    def table(self, kept: Sequence[int]) -> CostTable:
        """Return the costs of the kept exits, in fractions of the static model."""
        return CostTable("flops", tuple(cost / self.static for cost in self.spent(kept)), 1.0)

    def added(self, number: int, kept: Sequence[int]) -> float:
        """Return what an exit adds to the others that are kept, as a fraction of the static model.

        That is its gate, and of its head what no kept exit needs.
        """
        others = [each for each in kept if each != number]
        both = sorted([*others, number])
        return (self.spent(both)[-1] - self.spent(others)[-1]) / self.static

    def alone(self) -> tuple[float, ...]:
        """Return a cost below that of leaving at each exit under any subset, ``(K,)``, rising.

        Nothing is paid for the heads and gates that a sample passes, only for what its own exit
        needs. An exit that costs more than a later one counts as that one, less a trifle.
        """
        costs = np.array([self.spent([number])[0] for number in range(1, self.exits + 1)])
        costs[:-1] += np.asarray(self.gates)
        least = np.minimum.accumulate(costs[::-1])[::-1] / self.static
        trifles = 1e-9 * np.arange(self.exits - 1, -1, -1)
        return tuple(float(cost) for cost in least - trifles)


def check_early_exits(manifest: Manifest) -> None:
    """Refuse a bundle with one exit: there is nothing to choose, so nothing to calibrate.

    Raises:
        InputError: It has one.
    """
    if len(manifest.stages) < 2:
        raise InputError(
            f"{manifest.name} was cut at {manifest.stages[0].exit.name}, its only exit; there are "
            "no gates to calibrate.",
            hint="run it as it is, or compile the model with early exits.",
            code="calibrate.one-exit",
        )


def keep_records(records: ExitRecords, answers: Integers, kept: Sequence[int]) -> ExitRecords:
    """Return the records that the model would give with only the kept exits.

    Features that look at the exits before are made anew, as the gates make them.

    Args:
        records: Exit records of the model with all exits.
        answers: ``(n, K)`` top class of every exit.
        kept: Exits from 1, ascending; the last exit is among them.

    Raises:
        InputError: A feature of the gate is not known here.
    """
    columns = np.asarray(kept) - 1
    features = records.features[:, columns[:-1]].copy()
    names = records.gate.features
    unknown = [name for name in names if name not in (*_ALONE, *_COMPARING, _PATIENCE)]
    if unknown:
        raise InputError(
            f"what gate {records.gate.name!r} would say with fewer exits is not known: its "
            f"feature {unknown[0]!r} is none of {', '.join((*_ALONE, *_COMPARING, _PATIENCE))}.",
            hint="search with --gate statistics, then name the exits that it keeps, "
            "e.g. --exits 1,3,4.",
            code="selection.gate",
        )
    if _COMPARING[0] in names:
        _compare(features, names, answers[:, columns])
    if _PATIENCE in names:
        _count(features[:, :, names.index(_PATIENCE)], answers[:, columns])
    return replace(
        records,
        features=features,
        soft=records.soft[:, columns],
        quality=records.quality[:, columns],
    )


def _compare(features: Floats, names: Sequence[str], answers: Integers) -> None:
    """Write the features of a ``statistics`` gate that look at the exits before."""
    places = [names.index(name) for name in _COMPARING]
    log_odds = features[:, :, names.index("log_odds")]
    for gate in range(features.shape[1]):
        if gate == 0:
            features[:, 0, places] = 0
            continue
        same = answers[:, :gate] == answers[:, gate : gate + 1]
        agree = same[:, -1].astype(np.float32)
        columns = (agree, log_odds[:, gate - 1], agree * log_odds[:, gate], same.mean(axis=1))
        features[:, gate, places] = np.stack(columns, axis=1)


def _count(agreements: Floats, answers: Integers) -> None:
    """Write the counter of a ``patience`` gate: how many exits in a row gave the same label."""
    agreements[:, 0] = 0
    for gate in range(1, agreements.shape[1]):
        same = answers[:, gate] == answers[:, gate - 1]
        agreements[:, gate] = np.where(same, agreements[:, gate - 1] + 1, 0)

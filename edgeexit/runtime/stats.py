"""What a runtime has answered since it was opened: ``runtime.stats()``, as JSON, for Prometheus."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.atomic import write_atomic
from edgeexit.runtime.drift import Drift

_LINEAR = tuple(float(x) for x in np.round(np.linspace(-1, 1, 41), 2))
_OCTAVES = (2.0, 4.0, 8.0, 16.0, 32.0)

SCORE_EDGES = (*(-x for x in reversed(_OCTAVES)), *_LINEAR, *_OCTAVES)
"""Upper edges of the bins of a score sketch; a last bin holds what lies above them. Steps of 0.05
where probabilities and margins live, octaves beyond."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stats:
    """Counts since the runtime was opened, calls of ``run_to`` and failed calls left out.

    Attributes:
        bundle: The bundle's name.
        budget: The budget in force, in words; None where every sample goes to the last exit.
        calls: Calls answered.
        samples: Samples answered.
        exits: ``(K,)`` samples that left at each exit, audited ones at the last.
        exit_costs: ``(K,)`` FLOPs of leaving at each exit as fractions of the static model.
        scores: ``(K - 1, len(SCORE_EDGES) + 1)`` how often the gate of exit k let a sample go
            with a score up to each edge.
        call_ms: Milliseconds in calls, all together.
        deadline_ms: Milliseconds that a call may take; None where none is set.
        over_deadline: Calls that took longer, while a deadline was set.
        timed_calls: Calls made while a deadline was set.
        audits: Samples run to the end though their gate had let them go or would have.
        audit_disagreement: Estimated share of samples whose early answer differs from the last
            exit's: audited samples weighed by one over the rate they were drawn at; None before
            the first audit.
        drift: The test of exit shares.
        governor: The state of the governor, as plain values; None where there is none.
    """

    bundle: str
    budget: str | None
    calls: int
    samples: int
    exits: Counts
    exit_costs: tuple[float, ...]
    scores: Counts
    call_ms: float
    deadline_ms: float | None
    over_deadline: int
    timed_calls: int
    audits: int
    audit_disagreement: float | None
    drift: Drift
    governor: Mapping[str, Any] | None = None

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """``(K,)`` fractions of the samples that left at each exit."""
        shares: npt.NDArray[np.float64] = self.exits / max(self.samples, 1)
        return shares

    @property
    def cost(self) -> float:
        """Mean FLOPs a sample as a fraction of the static model; 0 before the first."""
        return float(self.shares @ np.asarray(self.exit_costs))

    @property
    def over_deadline_share(self) -> float | None:
        """Share of the calls made under a deadline that took longer; None where there were none."""
        return self.over_deadline / self.timed_calls if self.timed_calls else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **found,
            "exits": self.exits.tolist(),
            "exit_costs": list(self.exit_costs),
            "shares": self.shares.tolist(),
            "cost": self.cost,
            "scores": {"edges": list(SCORE_EDGES), "counts": self.scores.tolist()},
            "over_deadline_share": self.over_deadline_share,
            "drift": {**dataclasses.asdict(self.drift), "drifting": self.drift.drifting},
            "governor": None if self.governor is None else dict(self.governor),
        }

    def to_json(self) -> str:
        """Return :meth:`as_dict` as JSON."""
        return json.dumps(self.as_dict(), allow_nan=False)

    def prometheus(self) -> str:
        """Return the text exposition format of Prometheus, version 0.0.4."""
        return "".join(f"{line}\n" for line in _lines(self))

    def write_prometheus(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`prometheus` to a file that a textfile collector reads, atomically.

        Raises:
            ResourceError: The place is full or read-only.
        """
        write_atomic(Path(path), self.prometheus().encode("utf-8"))


def _lines(stats: Stats) -> Iterator[str]:
    name = _escaped(stats.bundle)
    plain: list[tuple[str, str, str, float | None]] = [
        ("calls_total", "counter", "Calls answered.", stats.calls),
        ("samples_total", "counter", "Samples answered.", stats.samples),
        ("cost_mean", "gauge", "Mean FLOPs a sample over the static model's.", stats.cost),
        ("call_seconds_total", "counter", "Seconds in calls.", stats.call_ms / 1000),
        ("deadline_calls_total", "counter", "Calls under a deadline.", stats.timed_calls),
        ("over_deadline_total", "counter", "Calls that missed it.", stats.over_deadline),
        ("audits_total", "counter", "Samples run to the end as audits.", stats.audits),
        ("audit_disagreement", "gauge", "Share of early answers that the last exit would change.",
         stats.audit_disagreement),
        ("drift_windows_total", "counter", "Windows tested.", stats.drift.windows),
        ("drift_alarms_total", "counter", "Windows that raised an alarm.", stats.drift.alarms),
        ("drift_p_value", "gauge", "P-value of the last window.", stats.drift.p_value),
    ]  # fmt: skip
    for metric, kind, text, value in plain:
        if value is not None:
            yield from _head(metric, kind, text)
            yield f'edgeexit_{metric}{{bundle="{name}"}} {value:.17g}'
    yield from _head("exits_total", "counter", "Samples that left at each exit.")
    for number, count in enumerate(stats.exits.tolist(), start=1):
        yield f'edgeexit_exits_total{{bundle="{name}",exit="{number}"}} {count}'
    yield from _head("score_total", "counter", "Samples let go with a score up to le.")
    for number, row in enumerate(np.cumsum(stats.scores, axis=1).tolist(), start=1):
        for edge, count in zip((*map(str, SCORE_EDGES), "+Inf"), row, strict=True):
            labels = f'bundle="{name}",exit="{number}",le="{edge}"'
            yield f"edgeexit_score_total{{{labels}}} {count}"


def _head(metric: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP edgeexit_{metric} {text}"
    yield f"# TYPE edgeexit_{metric} {kind}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

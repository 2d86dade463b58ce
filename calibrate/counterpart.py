"""What a calibration is compared with: another bundle of the same model, or earlier exits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import ExitFamily
from edgeexit.bundle.specs import Manifest
from edgeexit.calibrate.collect import Data, Progress
from edgeexit.calibrate.compare import BUDGETS, ComparedPoint, Side, compare_exits
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.gather import Checks, Gathered, gather
from edgeexit.errors import InputError

Origin = Literal["stored", "fitted", "previous"]
"""Where the other thresholds come from: the other bundle's ``exits.json``; this very call; or an
earlier calibration of the same bundle."""


@dataclass(frozen=True)
class Compared:
    """A calibration beside another one.

    Attributes:
        other: The bundle or the file it was compared with.
        device: The device of the other side.
        precision: Its precision.
        origin: Where its thresholds come from.
        policy: The policy that fitted them.
        same_data: Whether they were fitted on the data at hand.
        points: What was found, a budget each.
    """

    other: str
    device: str
    precision: str
    origin: Origin
    policy: str
    same_data: bool
    points: tuple[ComparedPoint, ...]


@dataclass(frozen=True)
class Counterpart:
    """The other side before its stages have run.

    Attributes:
        path: As the user named it.
        bundle: The other bundle; the same one for earlier exits.
        family: Its stored exits, or None where it has none.
        same_bundle: Whether only the thresholds differ.
    """

    path: Path
    bundle: Bundle
    family: ExitFamily | None
    same_bundle: bool

    def compare(
        self,
        found: Gathered,
        family: ExitFamily,
        chosen: Budget,
        data: Data,
        *,
        label_free: bool = False,
        progress: Progress | None = None,
    ) -> Compared:
        """Return what the two sides do on the same samples; nothing is written.

        Args:
            found: Records of the side that is being calibrated.
            family: Its exits.
            chosen: The budget that was asked for or recommended, compared beside the others.
            data: The calibration set, to run through the other bundle.
            label_free: As :func:`~edgeexit.calibrate.calibrate.calibrate_exits`.
            progress: Told after every batch.

        Raises:
            BudgetError: The other exits know no costs in FLOPs.
            InputError: The policy does not fit the other's gate.
            TargetError: The other bundle's engine is missing or refuses the model.
        """
        flops = _in_flops(family, chosen)
        records = found
        if not self.same_bundle:
            checks = Checks(None, "flops", None)
            records = gather(self.bundle, data, checks, label_free=label_free, progress=progress)
        other = self.family or _fitted(records, family.policy, flops)
        here = Side(found.records, found.answers, family)
        there = Side(records.records, records.answers, other)
        manifest = self.bundle.manifest
        return Compared(
            other=str(self.path),
            device=manifest.device,
            precision=manifest.precision,
            origin=self._origin(),
            policy=other.policy,
            same_data=other.data_sha256 == found.records.data_sha256,
            points=compare_exits(here, there, (*BUDGETS, flops)),
        )

    def _origin(self) -> Origin:
        if self.same_bundle:
            return "previous"
        return "fitted" if self.family is None else "stored"


def find_counterpart(path: str | os.PathLike[str], bundle: Bundle) -> Counterpart:
    """Return what ``path`` names: another bundle, or an ``exits.json`` of this one.

    Raises:
        BundleError: It is missing or damaged, or its exits belong to another bundle.
        InputError: It is a bundle of another model, or this bundle itself without exits.
    """
    place = Path(path)
    if place.is_file():
        return Counterpart(place, bundle, bundle.exits(place), same_bundle=True)
    other = Bundle.open(place)
    family = other.exits()
    if other.digest == bundle.digest:
        if family is None:
            raise InputError(
                f"{place} is the bundle that is being calibrated, and it has no exits yet to "
                "compare with.",
                hint="name another bundle of the model, or calibrate once without --compare.",
                code="compare.no-exits",
            )
        return Counterpart(place, bundle, family, same_bundle=True)
    require_same_model(bundle.manifest, other.manifest)
    return Counterpart(place, other, family, same_bundle=False)


def require_same_model(mine: Manifest, other: Manifest) -> None:
    """Refuse bundles whose samples, exits or answers do not mean the same.

    Two bundles hold one model where their inputs, their exits with the number of classes, their
    class names and gates are alike, and the digests of the source model are the same, as far as
    both are known (a factory has none).

    Raises:
        InputError: The first difference is named.
    """
    digests = [m.provenance.source_sha256 for m in (mine, other)]
    facts = {
        "source model": digests if all(digests) else ["", ""],
        "inputs": [_text((s.name, s.dtype, *s.shape) for s in m.inputs) for m in (mine, other)],
        "exits": [_exits(m) for m in (mine, other)],
        "class names": [_text([m.classes or ("unknown",)]) for m in (mine, other)],
        "gate": [_gate(m) for m in (mine, other)],
    }
    for what, (here, there) in facts.items():
        if here != there:
            raise InputError(
                f"these are bundles of two models: {what} here: {here[:200]}; {what} there: "
                f"{there[:200]}; right is one model, compiled twice.",
                hint="compile both from one file, with the same --exits, --gate and --classes.",
                code="compare.other-model",
            )


def _text(rows: Iterable[Iterable[object]]) -> str:
    return ", ".join(" ".join(map(str, row)) for row in rows)


def _exits(manifest: Manifest) -> str:
    exits = [stage.exit for stage in manifest.stages]
    return _text((exit_.name, exit_.outputs[0].shape[-1]) for exit_ in exits)


def _gate(manifest: Manifest) -> str:
    gate = manifest.stages[0].gate
    return "" if gate is None else f"{gate.name} {gate.version}"


def _in_flops(family: ExitFamily, budget: Budget) -> float:
    """Return what the setting of a budget of any kind costs in FLOPs."""
    if budget.kind == "flops":
        return budget.value
    rows = np.arange(len(family.thresholds))
    return float(np.interp(family.position(budget), rows, family.curve("flops")))


def _fitted(found: Gathered, policy: str, reference: float) -> ExitFamily:
    """Return exits fitted as this side's were, on the other's records."""
    per_exit = found.tables[0].per_exit
    budget = Budget(min(max(reference, per_exit[0]), per_exit[-1]))
    return fit_family(
        found.records,
        found.tables,
        policy=policy,
        budget=budget,
        manifest_digest=found.bundle.digest,
    )

"""What a bundle itself says: its model, its stages, its calibration, its parity."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexit.budget import Budget, CostKind
from edgeexit.bundle.boundary import boundary_bytes
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.codec import decode
from edgeexit.bundle.exits import ExitFamily
from edgeexit.bundle.specs import Manifest
from edgeexit.errors import BundleError
from edgeexit.parity import ParityReport
from edgeexit.report.device import Here
from edgeexit.report.evaluation import class_count
from edgeexit.report.facts import Calibrated, Model, Stage
from edgeexit.report.operating import family_kind


@dataclass(frozen=True)
class Subject:
    """What is reported on, as opened.

    Attributes:
        bundle: The bundle.
        family: Its calibrated exits, or None.
        budget: The budget in force; None without calibrated exits or where none was set.
        here: This machine.
    """

    bundle: Bundle
    family: ExitFamily | None
    budget: Budget | None
    here: Here

    @property
    def costs(self) -> tuple[float, ...]:
        """Costs of the K exits, fractions of the static model's, in the kind that is drawn."""
        if self.family is None:
            return self.bundle.manifest.flops_costs
        table = self.family.costs[family_kind(self.family, self.budget)]
        return tuple(cost / table.static for cost in table.per_exit)

    @property
    def kind(self) -> CostKind:
        """The kind of cost that is drawn."""
        return "flops" if self.family is None else family_kind(self.family, self.budget)

    @property
    def stated(self) -> str | None:
        """The budget in words, marked where its costs are estimated; None where there is none."""
        if self.family is None or self.budget is None:
            return None if self.budget is None else str(self.budget)
        return self.family.stated(self.budget)

    @property
    def estimated(self) -> bool:
        """Whether these costs come from a model of the device and not from a sensor."""
        return self.family is not None and self.family.costs[self.kind].estimated


def stored_model(subject: Subject) -> Model:
    """Return what is reported on."""
    manifest = subject.bundle.manifest
    return Model(
        manifest.name,
        str(subject.bundle.folder),
        subject.bundle.digest,
        manifest.precision,
        len(manifest.stages),
        class_count(manifest),
        manifest.static_flops,
        manifest.static_params,
        subject.stated,
    )


def stored_calibrated(subject: Subject) -> Calibrated | None:
    """Return what the exits were calibrated on, or None."""
    family, budget = subject.family, subject.budget
    if family is None:
        return None
    certificate = family.certificate
    certified = None if budget is None else family.certified(budget)
    return Calibrated(
        family.policy,
        family.samples,
        family.data_sha256,
        tuple(sorted(family.costs)),
        None if certificate is None else certificate.confidence,
        None if certified is None else family.stated(certified.budget),
    )


def stored_stages(manifest: Manifest) -> tuple[Stage, ...]:
    """Return one row a stage."""
    return tuple(
        Stage(
            stage.number,
            stage.exit.name,
            stage.flops + (stage.gate.flops if stage.gate else 0),
            stage.params,
            cost,
            boundary_bytes(stage),
            stage.gate.name if stage.gate else None,
        )
        for stage, cost in zip(manifest.stages, manifest.flops_costs, strict=True)
    )


def stored_parity(bundle: Bundle) -> ParityReport | None:
    """Return the parity report; an older form, or none, is no reason to have no page."""
    try:
        return decode(ParityReport, bundle.parity(), "parity.json")
    except BundleError:
        return None

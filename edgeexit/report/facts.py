"""The numbers behind a report: plain dataclasses, as ``edgeexit report --json`` prints them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgeexit.bundle.specs import Provenance
from edgeexit.parity import ParityReport
from edgeexit.report.device import Here
from edgeexit.report.flow import ClassFlow, ExitFlow
from edgeexit.report.operating import Operating, Place
from edgeexit.report.reliability import Reliability
from edgeexit.report.verdict import Advice


@dataclass(frozen=True)
class Model:
    """What is reported on.

    Attributes:
        name: The model's name.
        bundle: Path of the bundle.
        digest: SHA-256 of its manifest.
        precision: Its precision.
        exits: Number of exits K.
        classes: Number of classes, or None where unknown.
        static_flops: Floating-point operations of the static model for one sample.
        static_params: Its parameters.
        budget: The budget in force as text, or None where every sample goes to the last exit.
    """

    name: str
    bundle: str
    digest: str
    precision: str
    exits: int
    classes: int | None
    static_flops: int
    static_params: int
    budget: str | None


@dataclass(frozen=True)
class Calibrated:
    """What the exits were calibrated on.

    Attributes:
        policy: The exit policy.
        samples: Calibration samples.
        data_sha256: Digest of the calibration data.
        kinds: Kinds of cost that it serves.
        confidence: Of its certificate; None without one.
        certified: The certified budget that the budget in force snaps to; None likewise.
    """

    policy: str
    samples: int
    data_sha256: str
    kinds: tuple[str, ...]
    confidence: float | None
    certified: str | None


@dataclass(frozen=True)
class Data:
    """The data that the report was measured on.

    Attributes:
        source: As given.
        samples: Samples used.
        units: Independent units among them.
        unit: ``sample`` or ``group``.
        labelled: Whether they have labels.
        sha256: Digest of the samples used.
        calibration_set: Whether they are those that the exits were fitted on.
    """

    source: str
    samples: int
    units: int
    unit: str
    labelled: bool
    sha256: str
    calibration_set: bool


@dataclass(frozen=True)
class CurveFacts:
    """The accuracy-cost plane; costs are fractions of the static model's.

    Attributes:
        kind: ``flops``, ``latency`` or ``energy``.
        quality: ``accuracy`` or ``agreement`` with the last exit.
        fitted: The family on its calibration set, from cheap to dear.
        measured: The same settings on the data, with 95 % bands; empty without data.
        exits: Everything at one exit, one place an exit; empty where unknown.
        static: The static model, or None.
        budget: Cost of the budget in force, or None.
        estimated: Whether the costs come from a model of the device and not from a sensor.
    """

    kind: str
    quality: str
    fitted: tuple[Place, ...]
    measured: tuple[Place, ...]
    exits: tuple[Place, ...]
    static: Place | None
    budget: float | None
    estimated: bool = False


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        number: From 1.
        exit: Name of its exit.
        flops: With its gate, for one sample.
        params: Parameters that no earlier stage holds.
        cost: Cumulative FLOPs of leaving there, as a fraction of the static model's.
        boundary_bytes: Bytes that cross to later stages for one sample.
        gate: The gate, or None.
    """

    number: int
    exit: str
    flops: int
    params: int
    cost: float
    boundary_bytes: int
    gate: str | None


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        model: What is reported on.
        here: This machine.
        verdict: What to ship.
        calibrated: What the exits were calibrated on, or None.
        data: What was measured on, or None.
        curve: The accuracy-cost plane.
        point: What the budget does, on the data or else on the calibration set; None without
            calibrated exits or a budget.
        flow: What leaves at each exit; empty without data.
        classes: What leaves where, class by class; empty without data.
        reliability: How far each exit can be believed; empty without labels.
        stages: The stages.
        parity: The parity report of the bundle; None where it has none that can be read.
        provenance: Where the bundle comes from.
        missing: What is not measured, in sentences.
        created: When the report was made, UTC.
        edgeexit: Version that made it.
    """

    model: Model
    here: Here
    verdict: Advice
    calibrated: Calibrated | None
    data: Data | None
    curve: CurveFacts
    point: Operating | None
    flow: tuple[ExitFlow, ...]
    classes: tuple[ClassFlow, ...]
    reliability: tuple[Reliability, ...]
    stages: tuple[Stage, ...]
    parity: ParityReport | None
    provenance: Provenance
    missing: tuple[str, ...]
    created: str
    edgeexit: str

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return asdict(self)

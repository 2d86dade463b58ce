"""What a report does not measure, said plainly."""

from __future__ import annotations

from edgeexit.bundle.exits import ExitFamily
from edgeexit.parity import ParityReport
from edgeexit.report.device import Here
from edgeexit.report.facts import Data

BUSY = 0.5
"""Runnable processes a core above which a profile is no ground for advice."""

_WITHOUT_DATA = (
    "Nothing was measured for this report: no data were given. Flow by class, mistakes and "
    "reliability need them: edgeexit report BUNDLE --data DATA."
)
_OF_CALIBRATION = (
    "The curve and the point of the budget are those of the calibration set, which the exits were "
    "fitted on, and so a little better than new data will show; they have no confidence bands."
)


def missing(
    family: ExitFamily | None,
    here: Here,
    data: Data | None,
    static_fault: str,
    parity: ParityReport | None,
) -> tuple[str, ...]:
    """Return what is not measured, or only as stated, one sentence or two an item.

    Args:
        family: The calibrated exits, or None.
        here: This machine.
        data: The data measured on, or None.
        static_fault: Why the static model did not run on them; empty where it did.
        parity: The parity report, or None.
    """
    found = []
    if family is None:
        found.append(
            "The exits are not calibrated, so there is no accuracy-cost curve: edgeexit calibrate "
            "BUNDLE --data DATA --budget 0.5."
        )
    found += _of_data(family, data, static_fault)
    found += _of_device(family, here)
    if parity is None:
        found.append("The bundle has no parity report that this version reads.")
    elif parity.inputs == "random":
        found.append("Parity was measured on random inputs, not on real ones.")
    found.append(
        "Cost in FLOPs is counted on the graph, not measured. A model cut at an exit is shown at "
        "the cost of leaving there, which is a little more than its own: it has no gates and no "
        "earlier heads. edgeexit compile --truncate makes one, to be measured."
    )
    return tuple(found)


def _of_data(family: ExitFamily | None, data: Data | None, static_fault: str) -> list[str]:
    if data is None:
        return [_WITHOUT_DATA] if family is None else [_WITHOUT_DATA, _OF_CALIBRATION]
    found = []
    if data.calibration_set:
        found.append(
            "The data are the calibration set itself: figures on it flatter the exits. Give other "
            "data to see what new samples will show."
        )
    if not data.labelled:
        found.append(
            "The data have no labels: quality is agreement with the last exit, classes are its "
            "answers, and reliability could not be measured."
        )
        if family is not None and family.quality_kind == "accuracy":
            found.append(
                "The curve of the calibration set shows accuracy and is left out beside agreement."
            )
    if static_fault:
        found.append(
            f"The static model did not run here; the last exit stands in for it. {static_fault}"
        )
    if data.unit == "sample":
        found.append(
            "Samples count as independent: the data name no groups. If they come from clips, "
            "patients or sites, the bands are too narrow."
        )
    return found


def _of_device(family: ExitFamily | None, here: Here) -> list[str]:
    if here.engine is None:
        return [f"No time was measured: the bundle's engine does not run here. {here.fault}"]
    found = []
    if here.profile is None:
        found.append("No time was measured on this device: edgeexit profile BUNDLE.")
    elif here.profile.load > BUSY:
        found.append(
            f"The machine was busy when it was profiled ({here.profile.load:.1f} runnable "
            "processes a core): its times may be far off, and the verdict leaves them out."
        )
    for table in () if family is None else family.costs.values():
        if table.kind != "flops" and table.fingerprint != here.fingerprint:
            found.append(
                f"{table.kind.capitalize()} was calibrated on another device: {table.fingerprint}."
            )
        if table.estimated:
            found.append("The energy that the exits were calibrated on is estimated, not measured.")
    if here.energy is None:
        found.append("Energy was not measured on this device: edgeexit profile BUNDLE --energy.")
    elif here.energy.estimated:
        found.append(
            "Energy is estimated from processor time, not measured: no meter here could be used."
        )
    return found

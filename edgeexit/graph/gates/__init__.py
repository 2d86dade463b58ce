"""Gates: small subgraphs that score an exit. One file a gate; see :mod:`.base` for the contract.

A new gate is a file here with a subclass of :class:`~edgeexit.graph.gates.base.Gate` and a line
in :data:`GATES`; a package of its own can register one in the entry-point group
``edgeexit.gates``.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from edgeexit.errors import ModelError
from edgeexit.graph.gates.attach import attach_gates
from edgeexit.graph.gates.base import Gate
from edgeexit.graph.gates.jei_dnn import JeiDnnGate
from edgeexit.graph.gates.patience import PatienceGate
from edgeexit.graph.gates.q_exit import QExitGate
from edgeexit.graph.gates.statistics import ConfidenceGate, StatisticsGate

__all__ = ["GATES", "Gate", "attach_gates", "get_gate"]

GATES: dict[str, type[Gate]] = {
    gate.name: gate
    for gate in (StatisticsGate, ConfidenceGate, PatienceGate, QExitGate, JeiDnnGate)
}
"""The gates that come with edgeexit, by name."""


def get_gate(name: str) -> Gate:
    """Return the gate of that name.

    Raises:
        ModelError: There is none.
    """
    if name in GATES:
        return GATES[name]()
    found = {entry.name: entry for entry in entry_points(group="edgeexit.gates")}
    if name in found:
        gate: type[Gate] = found[name].load()
        return gate()
    raise ModelError(
        f"there is no gate {name!r}; the gates are {', '.join(sorted({*GATES, *found}))}.",
        hint="choose one of them with --gate.",
        code="model.unknown-gate",
    )

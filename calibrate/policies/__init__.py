"""The exit policies, one file each, and their registry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeexit.calibrate.policies.base import Policy, Shape
from edgeexit.calibrate.policies.eero import Eero
from edgeexit.calibrate.policies.energy import Energy
from edgeexit.calibrate.policies.entropy import Entropy
from edgeexit.calibrate.policies.gain_soft import GainSoft
from edgeexit.calibrate.policies.geometric import Geometric
from edgeexit.calibrate.policies.jei_dnn import JeiDnn
from edgeexit.calibrate.policies.margin import Margin
from edgeexit.calibrate.policies.opt import Opt
from edgeexit.calibrate.policies.opt_soft import OptSoft
from edgeexit.calibrate.policies.patience import Patience
from edgeexit.calibrate.policies.q_exit import QExit
from edgeexit.calibrate.policies.single import Single
from edgeexit.errors import InputError

DEFAULT_POLICY = GainSoft.name
"""The policy used where none is named."""

_ALL: tuple[Policy, ...] = (
    GainSoft(),
    OptSoft(),
    Opt(),
    Geometric(),
    Eero(),
    Single(),
    Margin(),
    Entropy(),
    Energy(),
    Patience(),
    QExit(),
    JeiDnn(),
)

POLICIES: Mapping[str, Policy] = MappingProxyType({policy.name: policy for policy in _ALL})
"""All policies by name."""


def find_policy(name: str) -> Policy:
    """Return the policy of that name.

    Raises:
        InputError: There is none.
    """
    if name not in POLICIES:
        raise InputError(
            f"there is no exit policy {name!r}; there are {', '.join(POLICIES)}.",
            hint=f"choose one of them, for example {DEFAULT_POLICY}.",
            code="policy.unknown",
        )
    return POLICIES[name]


__all__ = ["DEFAULT_POLICY", "POLICIES", "Policy", "Shape", "find_policy"]

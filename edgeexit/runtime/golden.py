"""Golden outputs: does an engine answer as the bundle's graphs did when they were compiled?"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.jsonfile import Json
from edgeexit.errors import BundleError, ResourceError
from edgeexit.runtime.build import kept_plans, missing_int8

if TYPE_CHECKING:
    from edgeexit.runtime.runtime import Runtime

Logits = Sequence[npt.NDArray[Any]]
"""K arrays ``(n, C)``, one an exit."""

TOLERANCES = {"f32": 1e-3, "bf16": 0.05, "fp16": 0.05, "int8": 0.1}
"""Largest difference of golden logits that ``verify`` accepts, by precision, as a fraction of the
largest logit: engines order float sums differently, and one int8 step may tip."""

_ENTRY = "golden"
_SHOWN_LAYERS = 3
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExitParity:
    """How one exit differs between two ways of running it.

    Attributes:
        exit: The exit's name.
        max_abs_difference: Largest difference of a logit.
        flips: Samples whose top class differs.
        identical: Whether all logits are equal bit for bit.
    """

    exit: str
    max_abs_difference: float
    flips: int
    identical: bool


def compare_logits(names: Sequence[str], left: Logits, right: Logits) -> tuple[ExitParity, ...]:
    """Compare two lists of K arrays ``(n, C)``, exit by exit."""
    return tuple(
        ExitParity(
            name,
            float(np.abs(a.astype(np.float64) - b).max()),
            int((a.argmax(axis=1) != b.argmax(axis=1)).sum()),
            bool(np.array_equal(a, b)),
        )
        for name, a, b in zip(names, left, right, strict=True)
    )


def check_golden(runtime: Runtime) -> tuple[ExitParity, ...]:
    """Compare a runtime's answers with the bundle's golden outputs.

    Raises:
        BundleError: They differ by more than :data:`TOLERANCES` allows.
    """
    golden, allowed = compare_golden(runtime)
    for found in golden:
        # Written so that NaN fails too.
        if not found.max_abs_difference <= allowed[found.exit]:
            raise BundleError(
                f"exit {found.exit!r} differs from its golden output by "
                f"{found.max_abs_difference:.3g}, more than {allowed[found.exit]:.3g}: "
                f"{runtime.machine.info.engine} computes this model wrongly here.",
                hint="compile in another --precision or for another --target, and report this.",
                code="bundle.golden",
            )
    return golden


def compare_golden(runtime: Runtime) -> tuple[tuple[ExitParity, ...], dict[str, float]]:
    """Return how all exits differ from the golden outputs, and what is allowed, by exit."""
    golden = runtime.bundle.golden()
    names = [stage.exit.name for stage in runtime.bundle.manifest.stages]
    expected = [next(iter(golden.outputs[name].values())) for name in names]
    share = TOLERANCES[runtime.bundle.manifest.precision]
    allowed = {
        name: share * float(np.abs(logits).max())
        for name, logits in zip(names, expected, strict=True)
    }
    answers = runtime.all_exits(dict(golden.inputs)).logits
    return compare_logits(names, answers, expected), allowed


def check_once_built(runtime: Runtime) -> None:
    """Check answers and layers of engines that were built on the device; once, until others are.

    A layer that does not compute in int8 as expected is a warning in the log: it costs time alone.

    Raises:
        BundleError: The engines that were built here answer wrongly.
    """
    machine = runtime.machine
    if not machine.target.builds_on_device:
        return
    plans = {name: record.get("sha256") for name, record in kept_plans(machine.cache).items()}
    entry = machine.cache.read_json(_ENTRY)
    if isinstance(entry, dict) and entry.get("plans") == plans:
        return
    found = check_golden(runtime)
    for file, layers in missing_int8(runtime.bundle, machine.cache).items():
        named = ", ".join(layers[:_SHOWN_LAYERS])
        _LOG.warning(
            "%s: %d layers were to compute in int8 and do not, %s first; `edgeexit build` shows "
            "all",
            file,
            len(layers),
            named,
        )
    with contextlib.suppress(ResourceError):
        exits: dict[str, Json] = {exit_.exit: exit_.max_abs_difference for exit_ in found}
        machine.cache.write_json(_ENTRY, {"plans": plans, "exits": exits})

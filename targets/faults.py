"""The errors that several parts of a target raise, in one place so that they read the same."""

from __future__ import annotations

import signal
from collections.abc import Collection
from pathlib import Path

from edgeexit.errors import (
    InputError,
    ResourceError,
    TargetError,
    is_out_of_memory,
    out_of_memory,
)
from edgeexit.targets.info import Unavailable

_PLACES = ("Exception from ", "Check '")
"""How the lines begin in which OpenVINO names a place in its own source."""


def check_tensors(
    model: Path, wanted: Collection[str], found: Collection[str], direction: str
) -> None:
    """Check that a graph has the tensors that its specs name.

    Args:
        model: The ONNX file, for the message.
        wanted: Names of the specs.
        found: Names of the graph.
        direction: ``inputs``, where both must be the same set, or ``outputs``, where the graph
            may have more.

    Raises:
        TargetError: They differ.
    """
    missing = sorted(set(wanted) - set(found))
    unfed = sorted(set(found) - set(wanted)) if direction == "inputs" else []
    if missing or unfed:
        raise TargetError(
            f"{model.name} has the {direction} {', '.join(sorted(found))}, but its bundle "
            f"names {', '.join(sorted(wanted))}.",
            hint="compile the bundle again.",
            code="target.tensors",
        )


def engine_refusal(what: str, error: Exception) -> ResourceError | TargetError:
    """Return the error for an exception that an engine raised; ``what`` was tried."""
    if is_out_of_memory(error):
        return out_of_memory(what)
    return TargetError(
        f"{what}: {summary(error)}",
        hint="check the model file, the sizes and the device file; the engine's own words are "
        "in the exception's cause.",
        code="target.engine",
    )


def not_loaded(name: str, error: Exception) -> Unavailable:
    """Return why a target's engine could not be imported.

    An interruption in the middle of such an import goes on: bindings in C++ turn it into an
    ImportError with the interruption as its cause.
    """
    if isinstance(error.__cause__, BaseException) and not isinstance(error.__cause__, Exception):
        raise error.__cause__
    hint = f"reinstall it: pip install --force-reinstall 'edgeexit[{name}]'."
    if is_out_of_memory(error):
        hint = _FREE_MEMORY
    return Unavailable(f"target {name!r} cannot be loaded: {summary(error)}", hint)


_FREE_MEMORY = "free some memory: there is not enough to load it."


def unavailable(found: Unavailable) -> ResourceError | TargetError:
    """Return the error for the use of a target that is not available."""
    if found.hint == _FREE_MEMORY:
        return ResourceError(found.reason, hint=found.hint, code="resource.memory")
    return TargetError(found.reason, hint=found.hint, code="target.unavailable")


def summary(error: Exception) -> str:
    """Return what an exception says, at most 300 characters, without the places it names."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_PLACES)]
    return (" ".join(told) or type(error).__name__)[:300]


def signal_name(number: int) -> str:
    """Return the name of the signal that ended a process, such as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def closed_engine() -> TargetError:
    """Return the error for the use of a closed engine."""
    return TargetError(
        "the engine is closed; its runners and operations cannot be used any more.",
        hint="open it again with Target.open.",
        code="target.closed",
    )


def unknown_tensor(name: str, known: Collection[str]) -> InputError:
    """Return the error for a tensor that the stage lacks; ``known`` are the ones it has."""
    return InputError(
        f"the stage has no tensor {name!r} here: it has {', '.join(sorted(known))}.",
        hint="use one of these names.",
        code="input.tensor",
    )

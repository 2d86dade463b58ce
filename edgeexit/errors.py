"""The errors that edgeexit raises on purpose.

Every error says what was wrong (with the value), what would be right, and what to do next.
An exception that is not an :class:`EdgeExitError` is a bug in edgeexit.
"""

from __future__ import annotations

from typing import ClassVar


class EdgeExitError(Exception):
    """Base of all errors a user can cause or mend.

    Args:
        message: What was wrong, with the offending value, and what would be right.
        hint: What to do next, one sentence.
        code: A stable, dotted identifier such as ``model.single-output``; scripts may match on it.
    """

    exit_code: ClassVar[int] = 1
    """The exit code of the command line for this family."""

    def __init__(self, message: str, *, hint: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} Hint: {self.hint}"


class InputError(EdgeExitError):
    """Data or an argument handed to edgeexit is not usable."""

    exit_code: ClassVar[int] = 3


class ModelError(EdgeExitError):
    """A model cannot be read, sliced, gated or quantized."""

    exit_code: ClassVar[int] = 4


class BundleError(EdgeExitError):
    """A bundle, or a file that belongs to it, is missing, damaged or not what it claims to be."""

    exit_code: ClassVar[int] = 5


class TargetError(EdgeExitError):
    """A target is unknown, not installed, or its engine refused the work."""

    exit_code: ClassVar[int] = 6


class BudgetError(EdgeExitError):
    """A budget lies outside what the model can do, or is of another kind or device."""

    exit_code: ClassVar[int] = 7


class ResourceError(EdgeExitError):
    """The machine ran out of disk, memory or another resource."""

    exit_code: ClassVar[int] = 8


_NO_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "Cannot allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "pthread_create failed",
    "can't start new thread",
    "Resource temporarily unavailable",
)
"""What engines and the loader say where no memory is left, for code, data or a thread's stack."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that the machine has no memory left."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


def out_of_memory(what: str = "") -> ResourceError:
    """Return the error for a lack of memory; ``what`` was tried."""
    return ResourceError(
        f"{what}: the machine ran out of memory." if what else "the machine ran out of memory.",
        hint="use fewer or smaller samples, or a machine with more memory.",
        code="resource.memory",
    )

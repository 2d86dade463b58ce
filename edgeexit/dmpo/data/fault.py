"""The error of this folder."""

from __future__ import annotations

from edgeexit.errors import InputError


def data_error(message: str, code: str, hint: str) -> InputError:
    """Return the error for data that cannot be learned from.

    Args:
        message: What was wrong, with the value, and what would be right.
        code: Last part of the stable code, behind ``tune.data-``.
        hint: What to do next.
    """
    return InputError(message, hint=hint, code=f"tune.data-{code}")

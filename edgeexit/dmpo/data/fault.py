"""The error of this folder, and what no text may hold."""

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


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: an escape in JSON can name half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

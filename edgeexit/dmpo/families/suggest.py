"""Errors for a name that is not known: they list the known ones and guess what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from edgeexit.errors import InputError


def guess(name: str, known: Collection[str]) -> str:
    """Return ``did you mean 'x'? `` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def unknown_setting(name: str, known: Collection[str]) -> InputError:
    """Return the error of a setting that a family does not have."""
    return InputError(
        f"[backbone] settings has an unknown {name!r}.",
        hint=f"{guess(name, known)}known are {', '.join(sorted(known))}.",
        code="input.backbone-setting",
    )

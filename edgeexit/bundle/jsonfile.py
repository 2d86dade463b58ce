"""Strict JSON, and the sealed JSON file: a body under its own SHA-256.

A sealed file has the digest in its first line, the body in the lines between, and a closing brace
in its last line, so that ``sed '1d;$d' manifest.json | sha256sum`` prints the digest in any shell
and a reader in another language needs no canonical form of JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
import re

from edgeexit.errors import BundleError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""A JSON value."""

MAX_DEPTH = 32
"""Deepest nesting of lists and objects that is read."""

MAX_ENTRIES = 500_000
"""Most commas, colons and opening brackets in a file; it bounds memory before parsing."""

_MAX_DIGITS = 20
_UNSAFE_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_TAIL = b"\n}\n"


def damaged(where: str, fault: str, *, code: str = "bundle.damaged") -> BundleError:
    """Return the error for a file whose contents are not what they must be.

    Args:
        where: The file, and the field where there is one.
        fault: What is wrong, with the value, and what would be right.
        code: The stable code of the error.
    """
    hint = "restore the file from its source, or make it again with edgeexit."
    return BundleError(f"{where}: {fault}", hint=hint, code=code)


def parse_json(data: bytes, where: str, limit: int) -> Json:
    """Return the value of strict JSON: UTF-8, no duplicate keys, only finite numbers.

    Args:
        data: The file's bytes.
        where: Name of the file, for messages.
        limit: Most bytes that are read.

    Raises:
        BundleError: The text is no strict JSON, or larger or deeper than the caps.
    """
    if len(data) > limit:
        raise damaged(where, f"has {len(data)} bytes; at most {limit} are read.")
    entries = sum(data.count(mark) for mark in (b",", b":", b"[", b"{"))
    if entries > MAX_ENTRIES:
        raise damaged(where, f"has {entries} entries; at most {MAX_ENTRIES} are read.")
    try:
        value: Json = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_int=_integer
        )
    except RecursionError:
        raise damaged(where, f"is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise damaged(where, f"is not strict JSON ({error}).") from None
    _check(value, (), where)
    return value


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in unique if keys.count(key) > 1)
        raise ValueError(f"key {twice[:80]!r} appears twice in one object")
    return unique


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"an integer has {len(digits)} digits, at most {_MAX_DIGITS} are read")
    return int(digits)


def _check(value: Json, path: tuple[str | int, ...], where: str) -> None:
    if len(path) > MAX_DEPTH:
        raise damaged(field_path(where, path[:4]), f"is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, float) and not math.isfinite(value):
        raise damaged(field_path(where, path), f"is {value}; a finite number is needed.")
    if isinstance(value, str):
        _check_text(value, path, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, (*path, index), where)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, path, where)
            _check(item, (*path, key), where)


def is_safe_text(text: str) -> bool:
    """Return whether a sealed file may hold a text: no control characters, no half ones."""
    return not _UNSAFE_TEXT.search(text)


def _check_text(text: str, path: tuple[str | int, ...], where: str) -> None:
    # Names end up on terminals: an escape sequence in a class name must not.
    if not is_safe_text(text):
        raise damaged(field_path(where, path), f"{text[:80]!a} holds control characters.")


def field_path(where: str, path: tuple[str | int, ...]) -> str:
    """Return ``where`` with a field's place in it, such as ``manifest.json: stages[0].file``."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{ascii(step)[1:-1]}" for step in path]
    return f"{where}: {''.join(steps).lstrip('.')[:200]}" if steps else where


def seal_json(key: str, body: Json, *, indent: int | None = None) -> tuple[bytes, str]:
    """Return the bytes of a sealed file and the digest of its body; equal bodies, equal bytes.

    Args:
        key: What the body is, e.g. ``manifest``; it stands in the first line.
        body: The value to seal.
        indent: Spaces a level, or None for a body in one line.
    """
    text = json.dumps(body, sort_keys=True, indent=indent, allow_nan=False)
    sealed = text.encode("ascii") + b"\n"
    digest = hashlib.sha256(sealed).hexdigest()
    return f'{{"digest":"{digest}","{key}":\n'.encode("ascii") + sealed + _TAIL[1:], digest


def unseal_json(data: bytes, key: str, where: str, limit: int) -> tuple[Json, str]:
    """Return the body of a sealed file and its digest, checked before anything is parsed.

    Raises:
        BundleError: The file is not sealed, its digest is another, or it is no strict JSON.
    """
    if len(data) > limit:
        raise damaged(where, f"has {len(data)} bytes; at most {limit} are read.")
    head = re.match(rb'\{"digest":"([0-9a-f]{64})","%s":\n' % key.encode("ascii"), data)
    if head is None or not data.endswith(_TAIL):
        raise damaged(where, f"is not a sealed {key}: its first or last line is not one's.")
    sealed = data[head.end() : 1 - len(_TAIL)]
    digest = hashlib.sha256(sealed).hexdigest()
    if digest != head[1].decode("ascii"):
        raise damaged(where, f"was changed: its SHA-256 is {digest}, not {head[1].decode()}.")
    return parse_json(sealed, where, limit), digest

"""Plain values (of TOML, JSON, the command line) to the fields of a config, by their type hints."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from edgeexit.bundle.jsonfile import is_safe_text
from edgeexit.errors import InputError

T = TypeVar("T")

_SCALARS: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
}


_LARGEST_INTEGER = 2**63 - 1


def setting_error(message: str, hint: str, code: str) -> InputError:
    """Return the error for a setting that is not usable.

    Args:
        message: What was wrong, with the value, and what would be right.
        hint: What to do next.
        code: Last part of the stable code, behind ``tune.``.
    """
    return InputError(message, hint=hint, code=f"tune.{code}")


def spelled(field: str) -> str:
    """Return a field as the file spells it: ``second_order`` as ``second-order``."""
    return field.replace("_", "-")


def from_mapping(kind: type[T], values: Mapping[str, Any], place: str) -> T:
    """Return the dataclass ``kind`` with the values of a mapping; what is left out has its default.

    Args:
        kind: A dataclass of scalars, literals, tuples, optional values, mappings and dataclasses.
        values: Keys are the names of fields, with hyphens or underscores.
        place: Name of the table, for messages; empty for the whole config.

    Raises:
        InputError: A key is unknown, missing or there twice, or a value has another type.
    """
    hints = get_type_hints(kind)
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in hints:
            raise unknown(key, tuple(hints), place)
        if name in found:
            raise setting_error(f"{_join(place, key)} stands there twice.", "remove one.", "twice")
        found[name] = convert(value, hints[name], _join(place, key))
    for field in dataclasses.fields(cast(Any, kind)):
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and field.name not in found:
            missing = _join(place, spelled(field.name))
            what = "table" if dataclasses.is_dataclass(hints[field.name]) else "setting"
            raise setting_error(
                f"the {what} {missing!r} is missing.",
                f"add it; docs/commands.md says what {missing} holds.",
                "missing",
            )
    return kind(**found)


def unknown(key: str, known: Sequence[str], place: str) -> InputError:
    """Return the error for a key that no setting has, with the nearest one that exists."""
    names = [spelled(name) for name in known]
    near = difflib.get_close_matches(key.replace("_", "-"), names, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return setting_error(
        f"there is no setting {_join(place, key)!r}.",
        f"{guess}known are {', '.join(names)}.",
        "unknown",
    )


def convert(value: Any, hint: Any, place: str) -> Any:
    """Return a plain value as the type ``hint``; lists become tuples, integers become floats.

    Args:
        value: The value.
        hint: A resolved type hint.
        place: Name of the setting, for messages.

    Raises:
        InputError: The value has another type, or is none of the words that are allowed.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _wrong(value, f"a table, written [{place}]", place)
        return from_mapping(cast("type[Any]", hint), value, place)
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, hint, place)
    if origin is Literal:
        if value not in arguments or not isinstance(value, str):
            raise _wrong_word(value, arguments, place)
        return value
    if origin is tuple:
        return _convert_tuple(value, arguments, hint, place)
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _free(item, _join(place, str(key))) for key, item in value.items()}
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise _wrong(value, described(hint), place)
    _check_storable(value, place)
    return value


def described(hint: Any) -> str:
    """Return what a type hint asks for, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _SCALARS:
        return _SCALARS[hint]
    if origin in (Union, types.UnionType):
        return " or ".join(described(option) for option in _options(arguments))
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if origin is tuple and arguments[1:] != (Ellipsis,):
        return f"a list of {len(arguments)}, each {described(arguments[0])}"
    return f"a list, each {described(arguments[0])}" if origin is tuple else "a table"


def _free(value: Any, place: str) -> Any:
    """Return a value of a free table, which has to survive a checkpoint's JSON."""
    if isinstance(value, Mapping):
        return {str(key): _free(item, _join(place, str(key))) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_free(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if type(value) not in _SCALARS or (isinstance(value, float) and not math.isfinite(value)):
        raise _wrong(value, "a number, text, true, false, a list or a table", place)
    _check_storable(value, place)
    return value


def _check_storable(value: Any, place: str) -> None:
    """Check that a checkpoint and ``tuned.json`` can hold a value, before hours are spent."""
    if isinstance(value, str) and not is_safe_text(value):
        raise _wrong(value, "text without control characters", place)
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise _wrong(value, "a number of 64 bits", place)


def _options(arguments: tuple[Any, ...]) -> list[Any]:
    return [option for option in arguments if option is not types.NoneType]


def _convert_union(value: Any, arguments: tuple[Any, ...], hint: Any, place: str) -> Any:
    if value is None and types.NoneType in arguments:
        return None
    options = _options(arguments)
    if len(options) == 1:
        return convert(value, options[0], place)
    for option in options:
        # A list that fails is told what is wrong in it, not that a word would do as well.
        if isinstance(value, list | tuple) == (get_origin(option) is tuple) and (
            get_origin(option) in (tuple, Literal) or _is(value, option)
        ):
            return convert(value, option, place)
    raise _wrong(value, described(hint), place)


def _is(value: Any, option: Any) -> bool:
    return type(value) is option or (option is float and type(value) is int)


def _convert_tuple(value: Any, arguments: tuple[Any, ...], hint: Any, place: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(value, described(hint), place)
    if arguments[1:] == (Ellipsis,):
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise _wrong(value, described(hint), place)
    return tuple(
        convert(item, kind, f"{place}[{index}]")
        for index, (item, kind) in enumerate(zip(value, arguments, strict=True))
    )


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _wrong(value: Any, wanted: str, place: str) -> InputError:
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
    return setting_error(f"{place} is {shown}; it must be {wanted}.", "correct it.", "type")


def _wrong_word(value: Any, words: tuple[Any, ...], place: str) -> InputError:
    near = difflib.get_close_matches(str(value), [str(word) for word in words], n=1)
    return setting_error(
        f"{place} is {value!r}; it must be one of {', '.join(words)}.",
        f"did you mean {near[0]!r}?" if near else "choose one of them.",
        "choice",
    )

"""Frozen dataclasses to JSON values and back, by their type hints, strictly."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.jsonfile import Json, damaged, field_path
from edgeexit.errors import BundleError

T = TypeVar("T")
_Path = tuple[str | int, ...]
_ARRAY = npt.NDArray[np.float64]
_SCALARS: dict[type, str] = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
}


def encode(value: Any) -> Json:
    """Return the JSON value of a dataclass: objects, lists and scalars; arrays as nested lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return cast(Json, value.tolist())
    return cast(Json, value)


def decode(kind: type[T], value: Json, where: str) -> T:
    """Return the dataclass of type ``kind`` that a JSON value holds.

    Numbers stay what they are: an integer is taken where a float is asked for, never the reverse,
    and a boolean is no number.

    Args:
        kind: A dataclass whose fields are scalars, Optional, Literal, tuples, mappings with string
            keys, float64 arrays or dataclasses.
        value: A value as :func:`edgeexit.bundle.jsonfile.parse_json` returns it.
        where: Name of the file, for messages.

    Raises:
        BundleError: A key is unknown or missing, or a value has another type; the message names
            the field.
    """
    return cast(T, _decode(kind, value, (), where))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode(hint: Any, value: Json, path: _Path, where: str) -> object:
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(cast(type, hint), value, path, where)
    if hint in _SCALARS:
        return _decode_scalar(hint, value, path, where)
    # Compared, not taken apart: numpy 2.5 made NDArray an alias whose origin is no longer ndarray.
    if hint == _ARRAY:
        return _decode_array(value, path, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, path, where)
    if origin is Literal:
        return _decode_literal(arguments, value, path, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, path, where)
    if origin is Mapping:
        return _decode_mapping(arguments, value, path, where)
    raise TypeError(f"no JSON form for {hint!r}")


def _wrong(value: Json, wanted: str, path: _Path, where: str) -> BundleError:
    found = ascii(value)
    found = found if len(found) <= 60 else f"{found[:60]}..."
    return damaged(field_path(where, path), f"holds {found}; it must be {wanted}.")


def _decode_dataclass(kind: type, value: Json, path: _Path, where: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(value, "an object", path, where)
    names = [field.name for field in dataclasses.fields(kind)]
    for key in value:
        if key not in names:
            raise damaged(field_path(where, (*path, key[:60])), "is not a known key.")
    for name in names:
        if name not in value:
            raise damaged(field_path(where, (*path, name)), "is missing.")
    hints = _hints(kind)
    fields = {name: _decode(hints[name], value[name], (*path, name), where) for name in names}
    return kind(**fields)


def _decode_scalar(kind: type, value: Json, path: _Path, where: str) -> object:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _wrong(value, _SCALARS[kind], path, where)
    return value


def _decode_union(options: tuple[Any, ...], value: Json, path: _Path, where: str) -> object:
    if value is None and types.NoneType in options:
        return None
    options = tuple(option for option in options if option is not types.NoneType)
    if len(options) > 1:
        for option in options:
            if type(value) is option:
                return value
        raise _wrong(value, " or ".join(_SCALARS[option] for option in options), path, where)
    return _decode(options[0], value, path, where)


def _decode_literal(options: tuple[Any, ...], value: Json, path: _Path, where: str) -> object:
    if type(value) is not str or value not in options:
        raise _wrong(value, f"one of {', '.join(map(str, options))}", path, where)
    return value


def _decode_tuple(items: tuple[Any, ...], value: Json, path: _Path, where: str) -> object:
    if not isinstance(value, list):
        raise _wrong(value, "a list", path, where)
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise _wrong(value, f"a list of {len(items)}", path, where)
    return tuple(
        _decode(hint, item, (*path, index), where)
        for index, (hint, item) in enumerate(zip(items, value, strict=True))
    )


def _decode_mapping(
    arguments: tuple[Any, ...], value: Json, path: _Path, where: str
) -> dict[object, object]:
    if not isinstance(value, dict):
        raise _wrong(value, "an object", path, where)
    keys, values = arguments
    return {
        _decode(keys, key, (*path, key), where): _decode(values, item, (*path, key), where)
        for key, item in value.items()
    }


def _decode_array(value: Json, path: _Path, where: str) -> npt.NDArray[np.float64]:
    _check_numbers(value, path, where)
    try:
        return np.array(value, dtype=np.float64)
    except ValueError:
        raise damaged(field_path(where, path), "has rows of different lengths.") from None


def _check_numbers(value: Json, path: _Path, where: str) -> None:
    if not isinstance(value, list):
        raise _wrong(value, "a list of numbers", path, where)
    for index, item in enumerate(value):
        if isinstance(item, list):
            _check_numbers(item, (*path, index), where)
        elif type(item) not in (int, float):
            raise _wrong(item, "a number", (*path, index), where)

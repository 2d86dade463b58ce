"""A tuning run from its TOML file, from ``--set``, and as JSON. No torch here."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from edgeexit.dmpo.config import TuneConfig
from edgeexit.dmpo.config_checks import check_config
from edgeexit.dmpo.config_values import convert, from_mapping, setting_error, spelled, unknown
from edgeexit.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MAX_BYTES = 1 << 20
"""Largest config file that is read; a data set given by mistake is refused before it is loaded."""

_NOTHING = "none"
"""What ``--set`` writes where a setting is to be left out."""


def read_config(path: str | Path) -> TuneConfig:
    """Return the tuning run that a TOML file describes, checked.

    Keys are the names of the fields of :mod:`edgeexit.dmpo.config`, with hyphens or underscores.
    Relative paths of the data and of ``backbone.source`` count from the file's folder where they
    exist there, and from the working folder where not.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be read or is no TOML, a table or key is unknown or missing,
            or a value is of another type or out of range.
    """
    path = Path(path)
    config = from_mapping(TuneConfig, _read_toml(path), "")
    config = _with_folder(config, path.parent)
    check_config(config)
    return config


def override(config: TuneConfig, settings: Mapping[str, str]) -> TuneConfig:
    """Return a config with settings replaced, checked again.

    Args:
        config: The tuning run.
        settings: Values by ``table.key`` (or ``name``), written as in the file; the quotes of a
            word and the brackets of a list may be left out, and ``none`` takes a setting back
            to its automatic value.

    Raises:
        InputError: A key is unknown, or a value is of another type or out of range.
    """
    for key, text in settings.items():
        config = _override_one(config, key, text)
    check_config(config)
    return config


def config_as_json(config: TuneConfig) -> dict[str, Any]:
    """Return a config as JSON values: objects, lists, numbers, text, null."""
    values: dict[str, Any] = _plain(dataclasses.asdict(config))
    return values


def config_from_json(values: Mapping[str, Any]) -> TuneConfig:
    """Return the config that :func:`config_as_json` gave, checked.

    Raises:
        InputError: As :func:`read_config`.
    """
    config = from_mapping(TuneConfig, values, "")
    check_config(config)
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise setting_error(
                f"{path} is larger than {_MAX_BYTES} bytes; a config was expected.",
                "give the TOML file of the tuning run.",
                "config-syntax",
            )
        values: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
        return values
    except OSError as error:
        raise setting_error(
            f"{path} cannot be read: {error.strerror or error}.",
            "give the TOML file of the tuning run; docs/commands.md shows one.",
            "config-missing",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise setting_error(
            f"{path} is not valid TOML: {error}.",
            "docs/commands.md shows an example.",
            "config-syntax",
        ) from error


def _with_folder(config: TuneConfig, folder: Path) -> TuneConfig:
    """Return the config with paths that lie beside its file made to lead there."""

    def place(value: Any) -> Any:
        if not isinstance(value, str) or not value or Path(value).is_absolute():
            return value
        beside = folder / value
        return str(beside) if _exists(beside) else value

    data = dataclasses.replace(
        config.data,
        **{
            name: place(getattr(config.data, name))
            for name in ("train", "validation", "calibration")
        },
    )
    backbone = dataclasses.replace(config.backbone, source=place(config.backbone.source))
    return dataclasses.replace(config, data=data, backbone=backbone)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for the file system, or with a NUL
        return False


def _override_one(config: TuneConfig, key: str, text: str) -> TuneConfig:
    table, dot, rest = key.replace("-", "_").partition(".")
    hints = get_type_hints(TuneConfig)
    if table not in hints or dataclasses.is_dataclass(hints[table]) != bool(dot):
        raise _unknown_override(key)
    if not dot:
        return dataclasses.replace(config, **{table: _parse(text, hints[table], key)})
    part = getattr(config, table)
    fields = get_type_hints(type(part))
    name, _, inner = rest.partition(".")
    if name not in fields or (inner and get_origin(fields[name]) is not dict):
        raise unknown(rest, tuple(fields), spelled(table))
    if inner:
        # Keys of a free table are spelled by whoever reads it.
        inner = key.split(".", 2)[2]
        value = {**getattr(part, name), inner: _parse_any(text)}
    else:
        value = _parse(text, fields[name], key)
    return dataclasses.replace(config, **{table: dataclasses.replace(part, **{name: value})})


def _unknown_override(key: str) -> InputError:
    known = _all_settings()
    ends = [name for name in known if name.rpartition(".")[2] == spelled(key)]
    near = ends or difflib.get_close_matches(spelled(key), known, n=1)
    guess = f"did you mean {near[0]!r}?" if near else "write table.key, for example training.lr."
    return setting_error(f"there is no setting {key!r}.", guess, "unknown")


def _all_settings() -> list[str]:
    names: list[str] = []
    for table, kind in get_type_hints(TuneConfig).items():
        if dataclasses.is_dataclass(kind):
            fields = dataclasses.fields(kind)
            names += [f"{spelled(table)}.{spelled(field.name)}" for field in fields]
        else:
            names.append(table)
    return names


def _parse(text: str, hint: Any, key: str) -> Any:
    """Return the text of one setting as its type: the first way of reading it that fits."""
    readings = [_parse_any(text), text, _parse_any(f"[{text}]"), text.split(",")]
    if text.strip() == _NOTHING and type(None) in get_args(hint):
        return None
    fault: InputError | None = None
    for reading in readings:
        if isinstance(reading, list):
            reading = [item.strip() if isinstance(item, str) else item for item in reading]
        try:
            return convert(reading, hint, key)
        except InputError as error:
            fault = fault or error
    assert fault is not None
    raise fault


def _parse_any(text: str) -> Any:
    """Return a text as a TOML value, or as it is where it is none."""
    try:
        values = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return values["value"] if list(values) == ["value"] else text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value

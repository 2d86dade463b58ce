"""Where a setting comes from: flag, ``EDGEEXIT_*``, ``edgeexit.toml``, default, in this order.

Click looks for flags and environment variables itself; this file reads ``edgeexit.toml`` into the
map of defaults that click asks last::

    model = "model.onnx"         # a top-level setting counts for every verb that has it
    data = "calibration.npz"
    bundle = "model.eex"         # what compile writes and the other verbs read

    [compile]                    # a table counts for one verb
    precision = "int8"
    quant-data = "calibration.npz"
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edgeexit.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "edgeexit.toml"
SHARED = ("bundle", "budget", "data", "model", "quiet", "target", "threads")
"""Settings that may stand above the tables."""


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what ``edgeexit.toml`` in ``folder`` says; nothing where there is no such file.

    Raises:
        InputError: The file is no TOML, or holds a setting or a table that does not exist.
    """
    path = folder / FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{FILE} is not valid TOML: {error}.",
            hint="docs/commands.md shows an example.",
            code="settings.syntax",
        ) from error
    from edgeexit.cli.main import VERBS

    for key, value in values.items():
        known = tuple(VERBS) if isinstance(value, dict) else SHARED
        if key not in known:
            raise _unknown(key, "table" if isinstance(value, dict) else "setting", known)
    return values


def verb_defaults(command: click.Command, folder: Path) -> dict[str, Any]:
    """Return the defaults of one verb from ``edgeexit.toml``, by parameter name.

    Raises:
        InputError: As :func:`read_settings`, or the verb has no such setting.
    """
    values = read_settings(folder)
    names = _parameter_names(command)
    defaults = {names[key]: value for key, value in values.items() if key in names}
    table: Mapping[str, Any] = values.get(command.name or "", {})
    for key, value in table.items():
        if key not in names:
            raise _unknown(f"{command.name}.{key}", "setting", tuple(sorted(names)))
        defaults[names[key]] = value
    return {name: _as_click_value(command, name, value) for name, value in defaults.items()}


def environment_name(parameter: str) -> str:
    """Return the environment variable of a parameter, e.g. ``EDGEEXIT_MAX_DROP``."""
    return f"EDGEEXIT_{parameter.upper()}"


def _parameter_names(command: click.Command) -> dict[str, str]:
    """Map every spelling of a setting (``max_drop``, ``max-drop``) to its parameter's name."""
    names: dict[str, str] = {}
    for param in command.params:
        if param.name:
            flags = [flag.lstrip("-") for flag in param.opts if flag.startswith("--")]
            names |= dict.fromkeys([param.name, param.name.replace("_", "-"), *flags], param.name)
    return names


def _as_click_value(command: click.Command, name: str, value: Any) -> Any:
    """Return a TOML value as click takes it: a list for a repeated option, else text or a flag."""
    param = next(param for param in command.params if param.name == name)
    repeated = isinstance(param, click.Option) and param.multiple
    if repeated and not isinstance(value, list):
        return [value]
    if isinstance(value, list) and not repeated:
        return ",".join(str(item) for item in value)
    return value


def _unknown(key: str, what: str, known: tuple[str, ...]) -> InputError:
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return InputError(
        f"{FILE} has an unknown {what} {key!r}.",
        hint=f"{guess}known are {', '.join(known)}.",
        code="settings.unknown",
    )

"""``edgeexit doctor``: what is installed, what works, and where each setting comes from."""

from __future__ import annotations

import os
import platform
import tempfile
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import psutil
from click.core import ParameterSource

from edgeexit.bundle.cache import cache_root
from edgeexit.cli.main import VERBS
from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.selftest import answer_selftest
from edgeexit.cli.settings import FILE, environment_name, verb_defaults
from edgeexit.cli.targets import target_answer, target_table
from edgeexit.cli.verb import verb
from edgeexit.errors import TargetError
from edgeexit.targets.info import DeviceInfo
from edgeexit.targets.registry import available_targets
from edgeexit.version import __version__

PACKAGES = {
    "numpy": "the base",
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "onnx": "compile",
    "onnx-ir": "compile",
    "nncf": "compile",
    "pillow": "images",
    "torch": "tune",
    "onnxscript": "tune",
}
"""The packages that edgeexit can use, and the extra that brings each."""


@verb("doctor", short_help="Check the installation, and show each setting and its source.")
@click.option(
    "--target",
    metavar="NAME",
    help="Self-test of this machine as that device, e.g. jetson; only as a flag.",
)
def command(reply: Reply, *, target: str | None) -> int:
    """Check the installation, and show each setting that is not a default and its source.

    With --target: look at each part that the device's engine needs, build a small bundle and
    compare its answers, and print what to send us where something is off. Exit code 6 where no
    engine, or that device's engine, can run on this machine.
    """
    source = click.get_current_context().get_parameter_source("target")
    # `target` in edgeexit.toml is what bundles are compiled for, not a wish for a self-test.
    if target is not None and source is ParameterSource.COMMANDLINE:
        return answer_selftest(reply, target)
    found = available_targets()
    packages = {name: _version(name) for name in PACKAGES}
    cache, fault = cache_root(), _write_fault(cache_root())
    settings = _settings(Path.cwd())
    usable = any(isinstance(info, DeviceInfo) for info in found.values())
    memory = psutil.virtual_memory().total / 2**30
    reply.answer(
        {
            "edgeexit": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": packages,
            "targets": {name: target_answer(info) for name, info in found.items()},
            "cache": {"path": str(cache), "writable": fault is None},
            "settings": settings,
            "usable": usable,
        },
        f"edgeexit {__version__}, Python {platform.python_version()}, {platform.platform()}, "
        f"{os.cpu_count()} processors, {memory:.0f} GiB",
        "",
        Table(
            ("package", "version"),
            [(name, found_ or _missing(name)) for name, found_ in packages.items()],
            text_columns=("version",),
        ),
        "",
        target_table(found),
        "",
        f"cache: {cache} ({'writable' if fault is None else fault})",
        "",
        _settings_table(settings),
    )
    return 0 if usable else TargetError.exit_code


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _missing(name: str) -> str:
    return f"not installed; pip install 'edgeexit[{PACKAGES[name]}]'"


def _write_fault(folder: Path) -> str | None:
    """Return why nothing can be written to the folder, or to where it would be made."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return f"not writable: {error.strerror}; set EDGEEXIT_CACHE to a folder that is"


def _settings(folder: Path) -> list[dict[str, Any]]:
    """Return every setting that stands in the environment or in ``edgeexit.toml``."""
    rows = []
    for name in VERBS:
        verb_command: click.Command = import_module(f"edgeexit.cli.{name}").command
        from_file = verb_defaults(verb_command, folder)
        for param in verb_command.params:
            key = param.name or ""
            if (name, key) == ("doctor", "target"):
                continue
            variable = environment_name(key)
            if os.environ.get(variable):
                rows.append(_setting(name, key, os.environ[variable], variable))
            elif key in from_file:
                rows.append(_setting(name, key, from_file[key], FILE))
    if os.environ.get("EDGEEXIT_CACHE"):
        rows.append(_setting("all", "cache", os.environ["EDGEEXIT_CACHE"], "EDGEEXIT_CACHE"))
    return rows


def _setting(verb_name: str, name: str, value: Any, source: str) -> dict[str, Any]:
    return {"verb": verb_name, "setting": name, "value": value, "source": source}


def _settings_table(settings: list[dict[str, Any]]) -> str | Table:
    if not settings:
        return f"settings: all defaults; no EDGEEXIT_* variable and no {FILE} in {Path.cwd()}"
    rows = [
        tuple(str(row[key]) for key in ("verb", "setting", "value", "source")) for row in settings
    ]
    return Table(("verb", "setting", "value", "from"), rows, "", ("setting", "value", "from"))

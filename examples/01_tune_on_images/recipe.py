"""How the demo model came about: what ``recipe.json`` says beside the figures."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from edgeexit.dmpo.config_file import config_as_json, read_config
from edgeexit.tuned import TunedFolder

FOLDER = Path(__file__).resolve().parent
CONFIG = "tune.toml"
TRAIN = "data.train"
"""The one setting that names a place on the machine that tuned."""


def recipe_of(folders: Mapping[str, TunedFolder]) -> dict[str, Any]:
    """Return the commands, settings, courses, versions and parity of tuned folders.

    Args:
        folders: ``tuned``, the model, and maybe ``plain``, its twin.
    """
    tuned = folders["tuned"]
    config = json.loads(json.dumps(tuned.config))
    config["data"]["train"] = PurePath(config["data"]["train"]).name
    plain = "--plain plain " if "plain" in folders else ""
    return {
        "folder": "examples/01_tune_on_images",
        "commands": [
            "python prepare.py",
            *(tune_command(folder, name) for name, folder in folders.items()),
            f"python build_demo.py --tuned tuned {plain}--test test.npz --out ../../edgeexit/demo",
        ],
        "seed": config["training"]["seed"],
        "epochs": config["training"]["epochs"],
        "config": config,
        "training": {name: dict(folder.report) for name, folder in folders.items()},
        "parity": asdict(tuned.record.parity),
        "versions": {**tuned.record.versions, "numpy": np.__version__},
    }


def tune_command(folder: TunedFolder, output: str) -> str:
    """Return the command that tunes such a folder: ``tune.toml``, and ``--set`` where it differs.

    Args:
        folder: The tuned folder.
        output: Name of the folder to write.
    """
    written = dict(settings(config_as_json(read_config(FOLDER / CONFIG))))
    used = dict(settings(folder.config))
    changes = [
        f" --set {shlex.quote(f'{name}={as_text(used.get(name))}')}"
        for name in dict.fromkeys((*used, *written))
        if name != TRAIN and used.get(name) != written.get(name)
    ]
    return f"edgeexit tune {CONFIG} -o {output}{''.join(changes)}"


def settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of a config as ``table.key`` and value."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def as_text(value: Any) -> str:
    """Return a value as ``--set`` takes it."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def digests(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return the size and the SHA-256 of every file."""
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }

"""What a checkpoint must have in common with the run that resumes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from edgeexit.dmpo.config import TuneConfig
from edgeexit.errors import InputError

_FREE = ("training.log", "training.checkpoint_minutes")
"""Settings that may differ: they change nothing of the weights."""


def run_identity(config: TuneConfig, data_sha256: str, processes: int) -> dict[str, Any]:
    """Return the settings, data and processes of a run as JSON values by dotted name."""
    settings = dict(_flat(json.loads(json.dumps(dataclasses.asdict(config))), ""))
    for name in _FREE:
        settings.pop(name, None)
    return {**settings, "data (SHA-256)": data_sha256, "processes": processes}


def check_identity(saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Check that a checkpoint is of this run.

    Raises:
        InputError: Settings, data or the number of processes differ; the message lists them.
    """
    names = [n for n in (*present, *saved) if saved.get(n) != present.get(n)]
    if not names:
        return
    changes = [f"{n}: {saved.get(n)!r} -> {present.get(n)!r}" for n in dict.fromkeys(names)]
    raise InputError(
        f"the training to resume was started with other settings: {'; '.join(changes)}.",
        hint="put them back to resume it, or start anew with --restart.",
        code="tune.changed",
    )


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

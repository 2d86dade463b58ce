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


def run_identity(
    config: TuneConfig, data_sha256: str, processes: int, frozen_sha256: str = ""
) -> dict[str, Any]:
    """Return what decides a run's outcome as JSON values: settings by dotted name, and more.

    Args:
        config: The settings.
        data_sha256: Digest of the data.
        processes: How many train together.
        frozen_sha256: Digest of the weights that are not tuned: another backbone may have come to
            lie under the same name.
    """
    settings = dict(_flat(json.loads(json.dumps(dataclasses.asdict(config))), ""))
    for name in _FREE:
        settings.pop(name, None)
    digests = {"data (SHA-256)": data_sha256, "frozen weights (SHA-256)": frozen_sha256}
    return {**settings, **digests, "processes": processes}


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

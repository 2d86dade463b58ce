"""``edgeexit targets``: the engines found here, and the devices one can compile for."""

from __future__ import annotations

from typing import Any

from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.verb import verb
from edgeexit.targets.device import device_names, load_device
from edgeexit.targets.info import DeviceInfo, Unavailable
from edgeexit.targets.registry import available_targets


@verb("targets", short_help="List the targets and devices, and what this machine can run.")
def command(reply: Reply) -> None:
    """List the engines this machine can run, and the devices that --target may name."""
    found = available_targets()
    devices = [load_device(name) for name in device_names()]
    reply.answer(
        {
            "targets": {name: target_answer(info) for name, info in found.items()},
            "devices": [
                {
                    "name": device.name,
                    "description": device.description,
                    "target": device.engine,
                    "precisions": list(device.precisions),
                    "default_precision": device.default_precision,
                    "runs_here": isinstance(found.get(device.engine), DeviceInfo),
                }
                for device in devices
            ],
        },
        target_table(found),
        "",
        Table(
            ("device", "target", "precisions", "runs here", "description"),
            [
                (
                    device.name,
                    device.engine,
                    ", ".join(device.precisions),
                    "yes" if isinstance(found.get(device.engine), DeviceInfo) else "no",
                    device.description,
                )
                for device in devices
            ],
            text_columns=("target", "precisions", "runs here", "description"),
        ),
    )


def target_answer(info: DeviceInfo | Unavailable) -> dict[str, Any]:
    """Return what a target found, as JSON."""
    if isinstance(info, Unavailable):
        return {"available": False, "reason": info.reason, "hint": info.hint}
    return {
        "available": True,
        "engine": info.engine,
        "processor": info.processor,
        "threads": info.threads,
        "features": list(info.features),
        "fingerprint": info.fingerprint,
    }


def target_table(found: dict[str, DeviceInfo | Unavailable]) -> Table:
    """Return one row a target: its engine here, or the way to get it."""
    rows = []
    for name, info in found.items():
        if isinstance(info, Unavailable):
            rows.append((name, "no", f"{info.reason} {info.hint}"))
        else:
            features = f" ({', '.join(info.features)})" if info.features else ""
            words = f"{info.engine} on {info.processor}, {info.threads} threads{features}"
            rows.append((name, "yes", words))
    return Table(
        ("target", "available", "what was found"), rows, "", ("available", "what was found")
    )

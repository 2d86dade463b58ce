"""What ``edgeexit doctor --target`` says: the parts of a device, and what to send back."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeexit.cli.reply import Reply, Table
from edgeexit.errors import TargetError
from edgeexit.targets.device import Device, load_device
from edgeexit.version import __version__

if TYPE_CHECKING:
    from edgeexit.runtime.selftest import Part


def answer_selftest(reply: Reply, target: str) -> int:
    """Run the self-test of a device, print it, and return the exit code: 6 where it is unusable.

    Args:
        reply: Where to print.
        target: A device's name, or the path of a device file.

    Raises:
        TargetError: There is no such device, or its file is faulty.
    """
    from edgeexit.runtime.selftest import SelfTest

    device = load_device(target)
    test = SelfTest(device, target, say=reply.log)
    parts = test.run()
    versions = {
        "edgeexit": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
    }
    words = "can run" if test.usable else "cannot run"
    reply.answer(
        {
            "device": device.name,
            "engine": device.engine,
            "usable": test.usable,
            "parts": [dataclasses.asdict(part) for part in parts],
            "versions": versions,
            "settings": dict(device.settings),
        },
        Table(
            ("part", "state", "what was found"),
            [(part.name, part.state, part.found) for part in parts],
            f"self-test for {device.name} (engine {device.engine})",
            ("state", "what was found"),
        ),
        "",
        f"this machine {words} bundles on {device.name}",
        *_steps(parts),
        "",
        "what to send back if something is off (read it first; paths may name you):",
        *_block(device, versions, [f"{p.name}: {p.state}: {p.found}" for p in parts]),
    )
    return 0 if test.usable else TargetError.exit_code


def _steps(parts: Sequence[Part]) -> list[str]:
    """Return what to do, in the order in which one part needs the other; each thing once."""
    hints = [part.hint for part in parts if part.hint and part.state != "ok"]
    steps = [f"  {number}. {hint}" for number, hint in enumerate(dict.fromkeys(hints), start=1)]
    return ["what to do, in this order:", *steps] if steps else []


def _block(device: Device, versions: dict[str, str], parts: Iterable[str]) -> list[str]:
    settings = ", ".join(f"{key} = {value}" for key, value in device.settings.items())
    head = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [head, f"device file {device.name}: {device.engine}, {settings or 'no settings'}"]
    return [f"    {line}" for line in (*lines, *parts)]

"""What a Jetson tells of itself: release, board, power mode, clocks and temperatures.

All of it decides how fast a stage runs, so it belongs to every measurement. Files that are
missing, unreadable or nonsense leave their part out; nothing here raises.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

JETPACKS: Mapping[str, str] = {
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "36.2.0": "6.0 DP",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "36.5.2": "6.2.3",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
"""JetPack by L4T release (developer.nvidia.com/embedded/jetpack-archive; 36.4.7 came by apt)."""

_RELEASE = re.compile(r"R([0-9]{1,3})\b.*?REVISION:\s*([0-9]{1,3})(?:\.([0-9]{1,3}))?")
_MODE = re.compile(r"NV Power Mode:\s*([!-~]{1,60})")
_MODE_NUMBER = re.compile(r"^\s*([0-9]{1,3})\s*$", re.MULTILINE)
_STATUS = re.compile(r"pmode:\s*([0-9]{1,4})")
_CONFIGURED = re.compile(r"POWER_MODEL\s+ID=([0-9]{1,3})\s+NAME=([!-~]{1,60})")
_WHOLE = re.compile(r"-?[0-9]{1,15}")

_GPU_NAMES = re.compile(r"gpu(?!-nvd)|ga10b|gv11b", re.IGNORECASE)
"""Names of the GPU's ``devfreq`` folder: 17000000.gpu (Orin), gpu-gpc-0 (Thor; nvd is video)."""

_MEMORY_NAMES = re.compile(r"emc|bwmgr", re.IGNORECASE)

_QUERY_SECONDS = 5.0
_LONGEST_FILE = 65536
_CELSIUS = (-60.0, 200.0)


@dataclass(frozen=True)
class Clock:
    """A clock now.

    Attributes:
        name: ``gpu``, ``memory`` or ``cpu``, and the kernel's name for it.
        hertz: What it runs at.
        lowest: The lowest it may be set to, in hertz, where known.
        highest: The highest, likewise; the power mode decides.
        governor: What chooses between them, where known.
    """

    name: str
    hertz: int
    lowest: int | None = None
    highest: int | None = None
    governor: str | None = None

    @property
    def locked(self) -> bool:
        """Whether it cannot change, as after ``jetson_clocks``."""
        return self.lowest is not None and self.lowest == self.highest


@dataclass(frozen=True)
class Jetson:
    """A Jetson as it is now; None stands for what it does not tell.

    Attributes:
        model: The board's name.
        l4t: Its Jetson Linux release, e.g. ``36.4.3``.
        jetpack: The JetPack of that release, where :data:`JETPACKS` knows it.
        power_mode: Name of the nvpmodel mode, e.g. ``25W``.
        power_mode_id: Its number.
        clocks: Of GPU, memory and CPU.
        temperatures: Zone and degrees Celsius.
    """

    model: str | None
    l4t: str | None
    jetpack: str | None
    power_mode: str | None
    power_mode_id: int | None
    clocks: tuple[Clock, ...]
    temperatures: tuple[tuple[str, float], ...]

    @property
    def summary(self) -> str:
        """One line for people."""
        parts = [self.model or "a Jetson", f"L4T {self.l4t or 'unknown'}"]
        if self.jetpack:
            parts[1] = f"JetPack {self.jetpack} ({parts[1]})"
        if self.power_mode or self.power_mode_id is not None:
            parts.append(f"power mode {self.power_mode or self.power_mode_id}")
        for clock in self.clocks:
            if clock.name.startswith("gpu"):
                highest = f" of {clock.highest / 1e6:.0f}" if clock.highest else ""
                parts.append(f"GPU at {clock.hertz / 1e6:.0f}{highest} MHz")
        return ", ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        return {
            **asdict(self),
            "clocks": [{**asdict(clock), "locked": clock.locked} for clock in self.clocks],
            "temperatures": dict(self.temperatures),
        }


def read_jetson(root: Path = Path("/"), nvpmodel: str | None = None) -> Jetson | None:
    """Return what this Jetson tells, or None where this is none. Never raises.

    Args:
        root: What stands in place of ``/``.
        nvpmodel: Output of ``nvpmodel -q``; None runs it where it is installed and ``root`` is
            ``/``, and reads its state file otherwise.
    """
    model = _line(root / "proc/device-tree/model")
    l4t = parse_release(_text(root / "etc/nv_tegra_release"))
    chip = _text(root / "proc/device-tree/compatible")
    if l4t is None and "jetson" not in (model or "").lower() and "nvidia,tegra" not in chip:
        return None
    if nvpmodel is None and root == Path("/"):
        nvpmodel = query_nvpmodel()
    mode, number = parse_nvpmodel(nvpmodel or "")
    if mode is None and number is None:
        mode, number = _saved_mode(root)
    return Jetson(
        model=model,
        l4t=l4t,
        jetpack=JETPACKS.get(l4t or ""),
        power_mode=mode,
        power_mode_id=number,
        clocks=read_clocks(root),
        temperatures=read_temperatures(root),
    )


def read_clocks(root: Path = Path("/")) -> tuple[Clock, ...]:
    """Return the clocks that the kernel tells, on any Linux. Never raises.

    Args:
        root: What stands in place of ``/``.
    """
    return (*_gpu_and_memory(root), *_cpus(root))


def read_temperatures(root: Path = Path("/")) -> tuple[tuple[str, float], ...]:
    """Return zone and degrees Celsius of the kernel's thermal zones, on any Linux. Never raises.

    Args:
        root: What stands in place of ``/``.
    """
    return tuple(_temperatures(root))


def parse_release(text: str) -> str | None:
    """Return the release that ``/etc/nv_tegra_release`` names, e.g. ``36.4.3``, or None.

    Args:
        text: Such as ``# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic``.
    """
    found = _RELEASE.search(text)
    if found is None:
        return None
    return f"{found[1]}.{found[2]}.{found[3] or 0}"


def parse_nvpmodel(text: str) -> tuple[str | None, int | None]:
    """Return name and number of the power mode, as ``nvpmodel -q`` prints them on two lines."""
    mode = _MODE.search(text)
    if mode is None:
        return None, None
    number = _MODE_NUMBER.search(text, mode.end())
    return mode[1], int(number[1]) if number else None


def query_nvpmodel() -> str | None:
    """Return what ``nvpmodel -q`` prints; None where it is missing, fails or takes 5 seconds."""
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    program = shutil.which("nvpmodel", path=folders)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-q"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_QUERY_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout[:_LONGEST_FILE].decode("utf-8", "replace")


def _saved_mode(root: Path) -> tuple[str | None, int | None]:
    saved = _STATUS.search(_text(root / "var/lib/nvpmodel/status"))
    if saved is None:
        return None, None
    number = int(saved[1])
    names = {int(key): name for key, name in _configured(root)}
    return names.get(number), number


def _configured(root: Path) -> list[tuple[str, str]]:
    return _CONFIGURED.findall(_text(root / "etc/nvpmodel.conf"))


def _gpu_and_memory(root: Path) -> Iterator[Clock]:
    for folder in _folders(root / "sys/class/devfreq", "*"):
        name = _line(folder / "name") or folder.name
        for kind, names in (("gpu", _GPU_NAMES), ("memory", _MEMORY_NAMES)):
            if names.search(name):
                yield from _clock(f"{kind} {name}", folder, ("cur_freq", "min_freq", "max_freq"), 1)
    rate = _number(root / "sys/kernel/debug/bpmp/debug/clk/emc/rate")
    if rate is not None and rate > 0:
        yield Clock("memory emc", rate)


def _cpus(root: Path) -> Iterator[Clock]:
    files = ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq")
    for folder in _folders(root / "sys/devices/system/cpu/cpufreq", "policy*"):
        yield from _clock(f"cpu {folder.name}", folder, files, 1000)


def _clock(name: str, folder: Path, files: tuple[str, str, str], unit: int) -> Iterator[Clock]:
    values = [_number(folder / file) for file in files]
    now, lowest, highest = (None if v is None or v < 0 else v * unit for v in values)
    if now is not None:
        governor = _line(folder / "governor") or _line(folder / "scaling_governor")
        yield Clock(name, now, lowest, highest, governor)


def _temperatures(root: Path) -> Iterator[tuple[str, float]]:
    for folder in _folders(root / "sys/class/thermal", "thermal_zone*"):
        name, reading = _line(folder / "type"), _number(folder / "temp")
        # A zone of a part that is switched off answers EAGAIN: it has no temperature now.
        if name and reading is not None and _CELSIUS[0] < reading / 1000 < _CELSIUS[1]:
            yield name, reading / 1000


def _folders(parent: Path, pattern: str) -> list[Path]:
    try:
        return sorted(parent.glob(pattern))
    except OSError:
        return []


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if _WHOLE.fullmatch(text) else None


def _line(file: Path) -> str | None:
    words = re.sub(r"[^ -~]+", " ", _text(file)).strip()
    return words[:100] or None


def _text(file: Path) -> str:
    try:
        # Opening a pipe would wait for its other end.
        if not file.is_file():
            return ""
        with file.open("rb") as opened:
            return opened.read(_LONGEST_FILE).decode("utf-8", "replace")
    except OSError:
        return ""

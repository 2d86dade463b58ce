"""The INA3221 power monitors of a Jetson: which rails a board has, and what they draw now.

The kernel shows a monitor as ``/sys/bus/i2c/devices/*/hwmon/hwmon*`` with up to three channels
(``Documentation/hwmon/ina3221.rst``): ``in{1,2,3}_label``, ``in{1,2,3}_input`` in millivolts and
``curr{1,2,3}_input`` in milliamperes. What it shows as channels 4 to 7 are shunt voltages and a
sum, no rails. A sensor that cannot be right is an error, never a number.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.sensor_file import nonsense, optional_text, read_number, read_text

CHANNELS = (1, 2, 3)

TOTALS = (
    ("VDD_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
)
"""The rails that make up what a module draws: Orin Nano and NX, AGX Orin, AGX Thor.

The rest are fed by these and would count twice (NVIDIA Jetson Linux Developer Guide, "Platform
Power and Performance"): VDDQ_VDD2_1V8AO of the AGX Orin hangs on VIN_SYS_5V0.
"""

HIGHEST_VOLTAGE = 26_000
"""Millivolts that an INA3221 can measure (Texas Instruments SBOS576, "Features")."""

HIGHEST_POWER = 200.0
"""Watts: more than any Jetson's power supply gives to one rail."""

SHORTEST_UPDATE = 0.005
"""Seconds: reading three rails over I2C takes about 2 ms, and sampling must not be the load."""

LONGEST_UPDATE = 1.0
"""Seconds: a slower sensor cannot tell stages apart, and to wait for its updates is to hang."""

DEFAULT_UPDATE = 0.02
"""Seconds between two samples where the driver tells no interval: a guess."""

_OFFSET = 80_000
"""A channel's largest offset (SBOS576, "Features": ±80 µV) in nanovolts, that is mA times µΩ."""

_SHUNT = re.compile(r"[0-9]{1,9}")

_INTERVAL = re.compile(r"[0-9]{1,5}")

_DRIVER = "ina3221"

_UNCONNECTED = frozenset({"", "NC"})


@dataclass(frozen=True)
class Rail:
    """A channel of a monitor.

    Attributes:
        label: The rail's name, e.g. ``VDD_IN``.
        folder: The monitor's ``hwmon`` folder.
        channel: 1, 2 or 3.
        offset: Milliamperes by which the channel may be off at zero current, either way.
    """

    label: str
    folder: Path
    channel: int
    offset: float

    @property
    def voltage_file(self) -> Path:
        """The file with the rail's millivolts."""
        return self.folder / f"in{self.channel}_input"

    @property
    def current_file(self) -> Path:
        """The file with the rail's milliamperes."""
        return self.folder / f"curr{self.channel}_input"

    def read(self) -> float:
        """Return what the rail draws now, in watts.

        An unloaded rail may read a little below zero: within the chip's offset this is kept,
        since cutting it off would make every sum too large.

        Raises:
            ResourceError: The sensor cannot be read, or what it says cannot be.
        """
        voltage, current = (
            read_number(file, _DRIVER) for file in (self.voltage_file, self.current_file)
        )
        if not 0 <= voltage <= HIGHEST_VOLTAGE:
            raise nonsense(str(self.voltage_file), f"{voltage} mV", f"0 to {HIGHEST_VOLTAGE} mV")
        if current < -self.offset:
            raise nonsense(str(self.current_file), f"{current} mA", "no negative current")
        if voltage == 0 and current > self.offset:
            raise nonsense(str(self.voltage_file), f"0 mV while {current} mA flow", "a voltage")
        watts = voltage * current / 1e6
        if watts > HIGHEST_POWER:
            wanted = f"at most {HIGHEST_POWER:.0f} W"
            raise nonsense(str(self.current_file), f"{current} mA at {voltage} mV", wanted)
        return watts


@dataclass(frozen=True)
class Rails:
    """The rails of a board.

    Attributes:
        rails: All that are connected.
        total: Those that add up to what the module draws.
        known: Whether the board's rails are among :data:`TOTALS`; if not, ``total`` is all of
            them, and a rail that feeds another counts twice.
    """

    rails: tuple[Rail, ...]
    total: tuple[Rail, ...]
    known: bool

    def read(self) -> float:
        """Return what the module draws now, in watts.

        Raises:
            ResourceError: A sensor cannot be read, or what it says cannot be.
        """
        watts = sum(rail.read() for rail in self.total)
        if watts <= 0:
            labels = " + ".join(rail.label for rail in self.total)
            raise nonsense(str(self.total[0].current_file), f"{labels} = {watts:g} W", "some power")
        return watts

    def update_seconds(self) -> float:
        """Return how often the slowest monitor of the total has a new value.

        The driver tells in ``update_interval``, in milliseconds; where it does not,
        :data:`DEFAULT_UPDATE` stands for it.

        Raises:
            ResourceError: It is longer than :data:`LONGEST_UPDATE`.
        """
        told = [
            optional_text(folder / "update_interval", _DRIVER)
            for folder in {rail.folder for rail in self.total}
        ]
        milliseconds = [int(text) for text in told if _INTERVAL.fullmatch(text)]
        if milliseconds and max(milliseconds) > LONGEST_UPDATE * 1000:
            file = str(self.total[0].folder / "update_interval")
            wanted = f"at most {LONGEST_UPDATE * 1000:.0f} ms"
            raise nonsense(file, f"{max(milliseconds)} ms", wanted)
        return (
            max([*milliseconds, SHORTEST_UPDATE * 1000]) / 1000 if milliseconds else DEFAULT_UPDATE
        )

    def read_each(self) -> tuple[tuple[str, float], ...]:
        """Return label and watts of every rail.

        Raises:
            ResourceError: As :meth:`read`.
        """
        return tuple((rail.label, rail.read()) for rail in self.rails)


def find_rails(root: Path = Path("/")) -> Rails | None:
    """Return the rails of this board, or None where there is no INA3221.

    Args:
        root: What stands in place of ``/``.

    Raises:
        ResourceError: A monitor is there, but its labels cannot be read, none of its channels
            is connected, or a rail is missing that the total needs.
    """
    monitors = _monitors(root)
    if not monitors:
        return None
    rails = tuple(rail for folder in monitors for rail in _connected(folder))
    if not rails:
        raise ResourceError(
            f"the INA3221 in {monitors[0]} has no connected channel (in1_label to in3_label).",
            hint="see that the board's device tree names the rails; "
            "`cat /sys/bus/i2c/devices/*/hwmon/hwmon*/in*_label` shows them.",
            code="power.rails",
        )
    wanted = _total({rail.label for rail in rails})
    total = tuple(rail for rail in rails if wanted is None or rail.label in wanted)
    return Rails(rails, total, wanted is not None)


def _total(labels: Collection[str]) -> tuple[str, ...] | None:
    for wanted in TOTALS:
        missing = [label for label in wanted if label not in labels]
        if not missing:
            return wanted
        # VIN_SYS_5V0 is on several boards: the two before it tell which.
        if len(wanted) - len(missing) > ("VIN_SYS_5V0" in labels):
            raise ResourceError(
                f"the board has the rails {', '.join(sorted(labels))}, but not {missing[0]}: "
                "their sum would be too small.",
                hint="see that all of the board's INA3221 are bound to their driver: "
                "`cat /sys/bus/i2c/devices/*/name`.",
                code="power.rails",
            )
    return None


def _monitors(root: Path) -> list[Path]:
    devices = sorted((root / "sys/bus/i2c/devices").glob("*/name"))
    named = (file.parent for file in devices if _DRIVER in optional_text(file, _DRIVER))
    return [folder for device in named for folder in sorted(device.glob("hwmon/hwmon*"))]


def _connected(folder: Path) -> list[Rail]:
    rails = []
    for channel in CHANNELS:
        label = _label(folder / f"in{channel}_label")
        if label not in _UNCONNECTED:
            shunt = optional_text(folder / f"shunt{channel}_resistor", _DRIVER)
            resistance = int(shunt) if _SHUNT.fullmatch(shunt) else 0
            offset = _OFFSET / resistance if resistance > 0 else 0.0
            rails.append(Rail(label, folder, channel, offset))
    return rails


def _label(file: Path) -> str:
    try:
        return read_text(file, _DRIVER)
    except ResourceError as error:
        # The driver shows no label file for a channel that the board leaves open.
        if error.code == "power.gone":
            return ""
        raise

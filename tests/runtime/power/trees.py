"""Sensor trees on disk, laid out as the kernel lays them out."""

from __future__ import annotations

import os
import threading

ORIN_NANO = {
    "1-0040": [("VDD_IN", 5040, 1000), ("VDD_CPU_GPU_CV", 5032, 200), ("VDD_SOC", 5032, 300)]
}
AGX_ORIN = {
    "1-0040": [
        ("VDD_GPU_SOC", 20_000, 200),
        ("VDD_CPU_CV", 20_000, 100),
        ("VIN_SYS_5V0", 5000, 900),
    ],
    "1-0041": [("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 80), ("NC", 0, 0)],
}
THOR = {
    "2-0040": [
        ("VDD_GPU", 19_000, -20),
        ("VDD_CPU_SOC_MSS", 19_000, 300),
        ("VIN_SYS_5V0", 5000, 1000),
    ]
}
UNKNOWN = {"7-0040": [("CARRIER_5V", 5000, 500), (None, 0, 0), ("CARRIER_12V", 12_000, 250)]}


def plant(root, board, shunt=2000):
    """Write a board's tree: the device's own folder, and a link to it where the kernel has one."""
    for number, (address, channels) in enumerate(board.items()):
        device = root / "sys/devices/platform/bus@0/c240000.i2c" / address
        hwmon = device / "hwmon" / f"hwmon{number + 3}"
        hwmon.mkdir(parents=True)
        (device / "name").write_text("ina3221\n")
        for channel, (label, voltage, current) in enumerate(channels, start=1):
            if label is not None:
                (hwmon / f"in{channel}_label").write_text(f"{label}\n")
            (hwmon / f"in{channel}_input").write_text(f"{voltage}\n")
            (hwmon / f"curr{channel}_input").write_text(f"{current}\n")
            (hwmon / f"shunt{channel}_resistor").write_text(f"{shunt}\n")
            # The shunt voltages and their sum, which are no rails.
            (hwmon / f"in{channel + 3}_input").write_text("9999\n")
        (hwmon / "in7_label").write_text("sum of shunt voltages\n")
        (hwmon / "in7_input").write_text("9999\n")
        (hwmon / "curr4_input").write_text("9999\n")
        devices = root / "sys/bus/i2c/devices"
        devices.mkdir(parents=True, exist_ok=True)
        (devices / address).symlink_to(os.path.relpath(device, devices))
    # Another chip, such as the one that measures what a Thor's whole board draws.
    other = root / "sys/bus/i2c/devices/2-0044/hwmon/hwmon9"
    other.mkdir(parents=True)
    (other.parents[1] / "name").write_text("ina238\n")
    for name, content in (("in1_label", "VIN"), ("in1_input", "19000"), ("curr1_input", "2000")):
        (other / name).write_text(f"{content}\n")
    return root


def sensor(root, name, address="1-0040"):
    return next((root / "sys/bus/i2c/devices" / address / "hwmon").glob(f"*/{name}"))


def plant_rapl(root, packages=("package-0",), count=5_000_000, largest=262_143_328_850):
    """Write RAPL's domains: the packages, and beside them what must not be counted."""
    folder = root / "sys/class/powercap"
    names = {f"intel-rapl:{number}": name for number, name in enumerate(packages)}
    names |= {"intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:9": "psys"}
    for domain, name in names.items():
        (folder / domain).mkdir(parents=True)
        (folder / domain / "name").write_text(f"{name}\n")
        (folder / domain / "energy_uj").write_text(f"{count}\n")
        (folder / domain / "max_energy_range_uj").write_text(f"{largest}\n")
    (folder / "intel-rapl").mkdir()
    return folder


class Ticking:
    """A thread that counts a file up, as a processor at work does; a context manager."""

    def __init__(self, file, step=2000, largest=None):
        self.file, self.step, self.largest = file, step, largest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick)

    def _tick(self):
        while not self._stop.wait(0.0005):
            count = int(self.file.read_text()) + self.step
            if self.largest is not None and count > self.largest:
                count -= self.largest + 1
            replacement = self.file.with_name("next")
            replacement.write_text(f"{count}\n")
            # A reader must find the old count or the new one, as in the kernel's file.
            replacement.replace(self.file)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

"""Clocks, temperatures, governor and load, from a tree on disk and from this machine."""

from __future__ import annotations

import json
import os

import pytest

from edgeexit.bundle.codec import decode, encode
from edgeexit.runtime.power.conditions import Conditions, read_conditions
from edgeexit.targets.jetson import Clock


def plant_machine(root):
    """Write two clusters of cores, a GPU and three thermal zones, one of them switched off."""
    for number, (hertz, governor) in enumerate(
        ((1_000_000, "schedutil"), (2_000_000, "userspace"))
    ):
        folder = root / f"sys/devices/system/cpu/cpufreq/policy{number}"
        folder.mkdir(parents=True)
        files = {"cur": hertz, "min": 100_000, "max": 2_000_000}
        for name, value in files.items():
            (folder / f"scaling_{name}_freq").write_text(f"{value}\n")
        (folder / "scaling_governor").write_text(f"{governor}\n")
    gpu = root / "sys/class/devfreq/17000000.gpu"
    gpu.mkdir(parents=True)
    (gpu / "cur_freq").write_text("306000000\n")
    for number, (zone, heat) in enumerate((("cpu", "48500"), ("gpu", "51000"), ("cv0", "-256000"))):
        folder = root / f"sys/class/thermal/thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{zone}-thermal\n")
        (folder / "temp").write_text(f"{heat}\n")
    return root


def test_a_machine_that_tells(tmp_path):
    found = read_conditions(plant_machine(tmp_path))
    assert found.megahertz == 1500
    assert found.governors == ("schedutil", "userspace")
    assert found.hottest == ("gpu-thermal", 51.0)
    assert found.temperatures == (("cpu-thermal", 48.5), ("gpu-thermal", 51.0))
    assert [clock.name for clock in found.clocks] == [
        "gpu 17000000.gpu",
        "cpu policy0",
        "cpu policy1",
    ]
    assert found.power_mode is None
    assert found.summary.endswith(
        "1500 MHz, governor schedutil, governor userspace, gpu-thermal at 51 C"
    )


def test_a_jetson_tells_its_power_mode(tmp_path):
    plant_machine(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1\n")
    (tmp_path / "etc/nvpmodel.conf").write_text("< POWER_MODEL ID=1 NAME=25W >\n")
    (tmp_path / "var/lib/nvpmodel").mkdir(parents=True)
    (tmp_path / "var/lib/nvpmodel/status").write_text("pmode:0001\n")
    found = read_conditions(tmp_path)
    assert found.power_mode == "25W"
    assert found.megahertz == 1500
    assert "power mode 25W" in found.summary


def test_a_machine_that_tells_nothing(tmp_path):
    found = read_conditions(tmp_path)
    assert (found.clocks, found.temperatures, found.megahertz, found.hottest) == (
        (),
        (),
        None,
        None,
    )
    assert Conditions(None, (), (), None).summary == "nothing known of load and clocks"


def test_this_machine():
    found = read_conditions()
    assert found.load == pytest.approx(os.getloadavg()[0] / os.cpu_count(), abs=0.5)
    assert found.megahertz is None or found.megahertz > 0
    assert decode(Conditions, json.loads(json.dumps(encode(found))), "entry") == found


def test_it_goes_through_json():
    known = Conditions(0.5, (Clock("cpu", 10, None, 20, "performance"),), (("cpu", 40.0),), "MAXN")
    assert decode(Conditions, json.loads(json.dumps(encode(known))), "entry") == known

"""Clocks, temperatures, governor and load, from a tree on disk and from this machine."""

from __future__ import annotations

import json
import os

import pytest

from edgeexit.bundle.codec import decode, encode
from edgeexit.runtime.power.conditions import Conditions, mode_changed, read_conditions
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


def plant_jetson(root):
    """Write the same as a Jetson in the power mode 25W."""
    plant_machine(root)
    (root / "etc").mkdir()
    (root / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1\n")
    models = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n"
    (root / "etc/nvpmodel.conf").write_text(models)
    (root / "var/lib/nvpmodel").mkdir(parents=True)
    (root / "var/lib/nvpmodel/status").write_text("pmode:0001\n")
    return root


def test_a_jetson_tells_its_power_mode(tmp_path):
    plant_jetson(tmp_path)
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


MODE = "power mode 25W, cpu schedutil 100-2000 MHz, cpu userspace 100-2000 MHz"


def change(root, file, text):
    (root / file).write_text(f"{text}\n")


CPU = "sys/devices/system/cpu/cpufreq/policy0"


@pytest.mark.parametrize(
    ("file", "text", "changed"),
    [
        ("var/lib/nvpmodel/status", "pmode:0000", True),
        (f"{CPU}/scaling_governor", "powersave", True),
        (f"{CPU}/scaling_max_freq", "1500000", True),
        (f"{CPU}/scaling_min_freq", "2000000", True),
        (f"{CPU}/scaling_cur_freq", "400000", False),
        ("sys/class/thermal/thermal_zone0/temp", "80000", False),
        ("sys/class/devfreq/17000000.gpu/cur_freq", "1020000000", False),
    ],
)
def test_a_mode_is_what_was_set_and_not_what_happens_to_be(tmp_path, caplog, file, text, changed):
    plant_jetson(tmp_path)
    assert read_conditions(tmp_path).mode == MODE
    assert not mode_changed("it is measured again", MODE, tmp_path)
    change(tmp_path, file, text)
    assert mode_changed("it is measured again", MODE, tmp_path) == changed
    now = read_conditions(tmp_path).mode
    told = f"it is measured again: it was in the mode '{MODE}', this is '{now}'"
    assert caplog.messages == ([told] if changed else [])


def test_the_clocks_of_a_graphics_processor_count_once_their_limits_are_known(tmp_path):
    plant_jetson(tmp_path)
    change(tmp_path, "sys/class/devfreq/17000000.gpu/min_freq", 306_000_000)
    change(tmp_path, "sys/class/devfreq/17000000.gpu/max_freq", 1_020_000_000)
    assert read_conditions(tmp_path).mode == f"power mode 25W, {MODE[16:]}, gpu 306-1020 MHz"


def test_what_is_not_known_is_not_compared(tmp_path, caplog):
    assert read_conditions(tmp_path).mode == ""
    assert not mode_changed("again", MODE, tmp_path)
    assert not mode_changed("again", "", plant_jetson(tmp_path))
    assert caplog.messages == []


def test_this_machine():
    found = read_conditions()
    assert found.load == pytest.approx(os.getloadavg()[0] / os.cpu_count(), abs=0.5)
    assert found.megahertz is None or found.megahertz > 0
    assert decode(Conditions, json.loads(json.dumps(encode(found))), "entry") == found


def test_it_goes_through_json():
    known = Conditions(0.5, (Clock("cpu", 10, None, 20, "performance"),), (("cpu", 40.0),), "MAXN")
    assert decode(Conditions, json.loads(json.dumps(encode(known))), "entry") == known

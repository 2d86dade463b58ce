"""What is read of a Jetson, from trees written to disk; no board was at hand for these tests."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from edgeexit.targets import jetson
from edgeexit.targets.jetson import (
    JETPACKS,
    Clock,
    parse_nvpmodel,
    parse_release,
    query_nvpmodel,
    read_jetson,
)

RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)
ORIN_NANO = {
    "etc/nv_tegra_release": RELEASE,
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,tegra234\0",
    "var/lib/nvpmodel/status": "pmode:0002\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
    "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
    "sys/class/devfreq/15340000.vic/cur_freq": "115200000\n",
    "sys/kernel/debug/bpmp/debug/clk/emc/rate": "3199000000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "729600\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "1728000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1728000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48593\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "-256000\n",
}
THOR = {
    "etc/nv_tegra_release": "# R38 (release), REVISION: 4.0, GCID: 43443517, BOARD: generic\n",
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "sys/class/devfreq/gpu-gpc-0/cur_freq": "1575000000\n",
    "sys/class/devfreq/gpu-gpc-0/min_freq": "1575000000\n",
    "sys/class/devfreq/gpu-gpc-0/max_freq": "1575000000\n",
    "sys/class/devfreq/gpu-nvd-0/cur_freq": "900000000\n",
    "sys/class/devfreq/bwmgr/cur_freq": "4266000000\n",
}


def plant(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_an_orin_nano(tmp_path):
    found = read_jetson(plant(tmp_path, ORIN_NANO), "NV Power Mode: 25W\n1\n")
    assert found.model == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert (found.l4t, found.jetpack) == ("36.4.3", "6.2")
    assert (found.power_mode, found.power_mode_id) == ("25W", 1)
    assert found.clocks == (
        Clock("gpu 17000000.gpu", 306_000_000, 306_000_000, 1_020_000_000, "nvhost_podgov"),
        Clock("memory emc", 3_199_000_000),
        Clock("cpu policy0", 729_600_000, 1_728_000_000, 1_728_000_000, "schedutil"),
    )
    assert [clock.locked for clock in found.clocks] == [False, False, True]
    assert found.temperatures == (("cpu-thermal", 48.593),)
    assert found.summary == (
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super, "
        "JetPack 6.2 (L4T 36.4.3), power mode 25W, GPU at 306 of 1020 MHz"
    )


def test_a_thor(tmp_path):
    found = read_jetson(plant(tmp_path, THOR))
    assert (found.l4t, found.jetpack) == ("38.4.0", "7.1")
    assert (found.power_mode, found.power_mode_id) == (None, None)
    assert [(clock.name, clock.locked) for clock in found.clocks] == [
        ("memory bwmgr", False),
        ("gpu gpu-gpc-0", True),
    ]
    assert found.summary == (
        "NVIDIA Jetson AGX Thor Developer Kit, JetPack 7.1 (L4T 38.4.0), GPU at 1575 of 1575 MHz"
    )


def test_it_goes_through_json(tmp_path):
    found = read_jetson(plant(tmp_path, ORIN_NANO)).as_json()
    assert json.loads(json.dumps(found)) == found
    assert found["jetpack"] == "6.2"
    assert found["clocks"][2]["hertz"] == 729_600_000
    assert found["clocks"][2]["locked"] is True
    assert found["temperatures"] == {"cpu-thermal": 48.593}


def test_the_mode_is_read_from_its_files_where_nvpmodel_says_nothing(tmp_path):
    plant(tmp_path, ORIN_NANO)
    for said in (None, "", "NVPM WARN: power mode is not set!\n"):
        found = read_jetson(tmp_path, said)
        assert (found.power_mode, found.power_mode_id) == ("MAXN_SUPER", 2)
    (tmp_path / "etc/nvpmodel.conf").unlink()
    found = read_jetson(tmp_path)
    assert (found.power_mode, found.power_mode_id) == (None, 2)
    assert "power mode 2" in found.summary


@pytest.mark.parametrize(
    "files",
    [
        {"etc/nv_tegra_release": RELEASE},
        {"proc/device-tree/model": "NVIDIA Jetson Orin NX\0"},
        {"proc/device-tree/compatible": "acme,carrier\0nvidia,tegra234\0"},
    ],
)
def test_one_sign_of_a_jetson_is_enough(tmp_path, files):
    found = read_jetson(plant(tmp_path, files))
    assert found.clocks == found.temperatures == ()
    assert found.summary.count("L4T") == 1


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"},
        {"etc/nv_tegra_release": "# release 36\n"},
        {"sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n"},
    ],
)
def test_what_is_no_jetson(tmp_path, files):
    assert read_jetson(plant(tmp_path, files)) is None


def test_this_machine():
    found = read_jetson()
    assert (found is not None) == Path("/etc/nv_tegra_release").exists()


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (RELEASE, "36.4.3"),
        ("# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic", "39.2.0"),
        ("# R35 (release), REVISION: 5", "35.5.0"),
        ("R36, REVISION: x", None),
        ("# R99999 (release), REVISION: 1.0", None),
        ("", None),
    ],
)
def test_releases(text, release):
    assert parse_release(text) == release


def test_every_release_of_the_table_can_be_read():
    for release in JETPACKS:
        major, _, revision = release.partition(".")
        assert parse_release(f"# R{major} (release), REVISION: {revision}, GCID: 1") == release


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", ("MAXN", 0)),
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_15W\n2\n", ("MODE_15W", 2)),
        ("NVPM VERB: parsing\nNVPM VERB: Current mode: NV Power Mode: 25W\n1\nNVPM", ("25W", 1)),
        ("NV Power Mode: 15W\n", ("15W", None)),
        ("NV Power Mode: \x1b[31mred\n1\n", (None, None)),
        ("7\n", (None, None)),
        ("", (None, None)),
    ],
)
def test_power_modes(text, mode):
    assert parse_nvpmodel(text) == mode


def program(folder, script):
    file = folder / "nvpmodel"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_a_program_in_nvpmodels_place_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program(tmp_path, 'echo "NV Power Mode: ask$1"; echo 3')
    assert parse_nvpmodel(query_nvpmodel()) == ("ask-q", 3)
    program(tmp_path, "echo 'NV Power Mode: 15W'; exit 1")
    assert query_nvpmodel() is None
    (tmp_path / "nvpmodel").write_text("no program")
    assert query_nvpmodel() is None
    monkeypatch.setattr(jetson, "_QUERY_SECONDS", 0.2)
    program(tmp_path, "exec sleep 30")
    assert query_nvpmodel() is None


def test_a_hostile_tree_leaves_its_parts_out(tmp_path):
    plant(tmp_path, ORIN_NANO)
    for name in ORIN_NANO:
        (tmp_path / name).write_bytes(b"\xff\x00\x1b[31m" * 40_000)
    (tmp_path / "etc/nv_tegra_release").write_text(RELEASE)
    gpu = tmp_path / "sys/class/devfreq/17000000.gpu"
    for bad in (gpu / "cur_freq", tmp_path / "sys/class/thermal/thermal_zone0/temp"):
        bad.unlink()
    os.mkfifo(gpu / "cur_freq")
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").mkdir()
    (tmp_path / "sys/class/devfreq/loop.gpu").symlink_to("loop.gpu")
    (tmp_path / "sys/class/devfreq/endless.gpu").mkdir()
    (tmp_path / "sys/class/devfreq/endless.gpu/cur_freq").symlink_to("/dev/zero")
    found = read_jetson(tmp_path)
    assert found.clocks == found.temperatures == ()
    assert (found.l4t, found.power_mode) == ("36.4.3", None)
    assert len(found.model) <= 100
    assert found.model.isprintable()


@pytest.mark.parametrize("name", sorted(ORIN_NANO))
def test_a_folder_in_any_files_place(tmp_path, name):
    plant(tmp_path, {key: text for key, text in ORIN_NANO.items() if key != name})
    (tmp_path / name).mkdir(parents=True)
    assert read_jetson(tmp_path) is not None


@pytest.mark.parametrize("name", ["etc", "proc", "sys", "sys/class", "sys/class/devfreq", "var"])
def test_a_file_in_a_folders_place(tmp_path, name):
    kept = {key: text for key, text in ORIN_NANO.items() if not key.startswith(f"{name}/")}
    plant(tmp_path, kept)
    (tmp_path / name).write_text("")
    assert read_jetson(tmp_path) is not None

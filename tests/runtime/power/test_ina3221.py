"""Rails read from sensor trees on disk, laid out as the kernel lays them out.

They prove how the files are read. What a board's chips really answer is not proven here.
"""

from __future__ import annotations

import os
import shutil

import pytest

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.ina3221 import find_rails
from tests.runtime.power.trees import AGX_ORIN, ORIN_NANO, THOR, UNKNOWN, plant, sensor


@pytest.mark.parametrize(
    ("board", "total", "known", "watts"),
    [
        (ORIN_NANO, ["VDD_IN"], True, 5.04),
        (AGX_ORIN, ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"], True, 10.5),
        (THOR, ["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"], True, 10.32),
        (UNKNOWN, ["CARRIER_5V", "CARRIER_12V"], False, 5.5),
    ],
    ids=["orin-nano", "agx-orin", "thor", "unknown"],
)
def test_boards(tmp_path, board, total, known, watts):
    rails = find_rails(plant(tmp_path, board))
    assert [rail.label for rail in rails.total] == total
    assert rails.known is known
    assert rails.read() == pytest.approx(watts, abs=1e-9)


def test_each_rail_of_an_agx_orin(tmp_path):
    each = find_rails(plant(tmp_path, AGX_ORIN)).read_each()
    assert [label for label, _ in each] == [
        "VDD_GPU_SOC",
        "VDD_CPU_CV",
        "VIN_SYS_5V0",
        "VDDQ_VDD2_1V8AO",
    ]
    assert [watts for _, watts in each] == pytest.approx([4.0, 2.0, 4.5, 0.4])


def test_a_reading_follows_the_sensor(tmp_path):
    rails = find_rails(plant(tmp_path, ORIN_NANO))
    sensor(tmp_path, "curr1_input").write_text("2500\n")
    assert rails.read() == pytest.approx(12.6)


@pytest.mark.parametrize("make", [lambda root: None, lambda root: plant(root, {})])
def test_no_monitor_is_no_error(tmp_path, make):
    make(tmp_path)
    assert find_rails(tmp_path) is None


def test_this_machine_is_none_or_has_rails():
    rails = find_rails()
    assert rails is None or len(rails.rails) >= len(rails.total) > 0


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("curr1_input", "-500\n", "says -500 mA: no negative current would be right"),
        ("in1_input", "-5\n", "says -5 mV: 0 to 26000 mV would be right"),
        ("in1_input", "65535\n", "says 65535 mV: 0 to 26000 mV would be right"),
        ("in1_input", "0\n", "says 0 mV while 1000 mA flow: a voltage would be right"),
        ("curr1_input", "40000\n", "says 40000 mA at 5040 mV: at most 200 W would be right"),
        ("curr1_input", "", "says '': a whole number would be right"),
        ("curr1_input", "many\n", "says 'many': a whole number would be right"),
        ("curr1_input", "1_000\n", "says '1_000': a whole number would be right"),
        ("curr1_input", "1e3\n", "says '1e3': a whole number would be right"),
        ("curr1_input", "nan\n", "says 'nan': a whole number would be right"),
        ("curr1_input", "9" * 5000, "a whole number would be right"),
        ("curr1_input", "0\n", "says VDD_IN = 0 W: some power would be right"),
    ],
)
def test_nonsense_is_refused_and_its_file_named(tmp_path, file, content, said):
    rails = find_rails(plant(tmp_path, ORIN_NANO))
    path = sensor(tmp_path, file)
    path.write_text(content)
    with pytest.raises(ResourceError) as caught:
        rails.read()
    assert said in caught.value.message
    assert str(rails.rails[0].folder / file) in caught.value.message
    assert caught.value.code == "power.nonsense"
    path.write_text("1000\n" if file.startswith("curr") else "5040\n")
    assert rails.read() == pytest.approx(5.04)


@pytest.mark.parametrize(
    ("shunt", "current", "refused"),
    [(2000, -40, False), (2000, -41, True), (5000, -16, False), (5000, -17, True), (0, -1, True)],
)
def test_an_unloaded_rail_may_be_off_by_the_chips_offset(tmp_path, shunt, current, refused):
    rail = find_rails(plant(tmp_path, AGX_ORIN, shunt)).rails[0]
    rail.current_file.write_text(f"{current}\n")
    if refused:
        with pytest.raises(ResourceError, match=f"says {current} mA"):
            rail.read()
    else:
        assert rail.read() == pytest.approx(20 * current / 1000)


def test_a_rail_that_is_switched_off_draws_nothing(tmp_path):
    rail = find_rails(plant(tmp_path, AGX_ORIN)).rails[0]
    rail.voltage_file.write_text("0\n")
    rail.current_file.write_text("40\n")
    assert rail.read() == 0.0


def test_a_rail_that_goes_after_it_was_found(tmp_path):
    rails = find_rails(plant(tmp_path, AGX_ORIN))
    shutil.rmtree(tmp_path / "sys/devices")
    with pytest.raises(ResourceError, match=r"in1_input is gone: it was there") as caught:
        rails.read()
    assert caught.value.code == "power.gone"


def test_a_sensor_that_cannot_be_read(tmp_path):
    rails = find_rails(plant(tmp_path, ORIN_NANO))
    sensor(tmp_path, "curr1_input").unlink()
    rails.total[0].current_file.mkdir()
    with pytest.raises(
        ResourceError, match=r"curr1_input cannot be read: Is a directory"
    ) as caught:
        rails.read()
    assert caught.value.code == "power.sensor"


@pytest.mark.parametrize("file", ["in1_label", "curr1_input"])
def test_a_file_without_permission(unprivileged, file):
    plant(unprivileged, ORIN_NANO)
    path = sensor(unprivileged, file)
    path.chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    with pytest.raises(ResourceError) as caught:
        find_rails(unprivileged).read()
    assert f"{file} may not be read: Permission denied" in caught.value.message
    assert "chmod a+r" in caught.value.hint
    assert caught.value.code == "power.permission"


def test_half_of_a_known_board_is_refused(tmp_path):
    board = {"1-0040": [AGX_ORIN["1-0040"][0], ("NC", 0, 0), AGX_ORIN["1-0040"][2]]}
    with pytest.raises(ResourceError, match="but not VDD_CPU_CV") as caught:
        find_rails(plant(tmp_path, board))
    assert caught.value.code == "power.rails"


def test_the_5_volt_rail_alone_names_no_board(tmp_path):
    rails = find_rails(plant(tmp_path, {"1-0040": [("VIN_SYS_5V0", 5000, 100)]}))
    assert rails.known is False
    assert rails.read() == pytest.approx(0.5)


def test_a_monitor_without_a_connected_channel_is_refused(tmp_path):
    board = {"1-0041": [("NC", 0, 0), (None, 0, 0), ("", 0, 0)]}
    with pytest.raises(ResourceError, match="has no connected channel"):
        find_rails(plant(tmp_path, board))

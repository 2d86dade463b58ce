"""Which meter is taken, and what the record says of those above it."""

from __future__ import annotations

import os
from time import process_time

import pytest

from edgeexit.errors import ResourceError
from edgeexit.runtime.power import cpu_time
from edgeexit.runtime.power.cpu_time import CpuTimeMeter, PowerModel
from edgeexit.runtime.power.find import find_meter
from tests.runtime.power.trees import ORIN_NANO, Ticking, plant, plant_rapl, sensor


def test_a_jetson_is_measured_by_its_own_sensors_whatever_runs(tmp_path):
    plant(tmp_path, ORIN_NANO)
    plant_rapl(tmp_path)
    for gpu in (False, True):
        found = find_meter(tmp_path, gpu=gpu)
        with found.meter as meter:
            assert meter.info.kind == "ina3221"
        assert found.refused == ()


def test_rapl_comes_next(tmp_path):
    folder = plant_rapl(tmp_path)
    with Ticking(folder / "intel-rapl:0" / "energy_uj"):
        found = find_meter(tmp_path)
    assert found.meter.info.kind == "rapl"
    assert found.refused == ()


def test_the_model_is_the_last_resort_and_says_that_it_is_one(tmp_path):
    found = find_meter(tmp_path)
    assert found.meter.info.kind == "cpu-time"
    assert found.meter.info.estimated
    assert found.meter.info.source == "5 W idle + 5 W a busy core (defaults, not measured)"
    assert found.refused == ()


def test_sensors_that_answer_nonsense_are_named_and_the_next_is_taken(tmp_path):
    plant(tmp_path, ORIN_NANO)
    plant_rapl(tmp_path)
    sensor(tmp_path, "curr1_input").write_text("nan\n")
    found = find_meter(tmp_path)
    assert found.meter.info.kind == "cpu-time"
    first, second = found.refused
    assert first.startswith("ina3221: the power sensor ")
    assert "says 'nan': a whole number would be right" in first
    assert second.startswith("rapl: the power sensor RAPL package-0 says 0 J in 0.005 s")


def test_what_may_not_be_read_is_told_with_what_to_do(unprivileged):
    folder = plant_rapl(unprivileged)
    (folder / "intel-rapl:0" / "energy_uj").chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    (refused,) = find_meter(unprivileged).refused
    assert "may not be read: Permission denied" in refused
    assert "chmod a+r" in refused


def test_a_meter_that_failed_before_is_left_out(tmp_path):
    plant(tmp_path, ORIN_NANO)
    found = find_meter(tmp_path, without={"ina3221": "ina3221: it stood still."})
    assert found.meter.info.kind == "cpu-time"
    assert found.refused == ("ina3221: it stood still.",)


def test_a_gpu_is_never_measured_by_what_does_not_see_it(tmp_path):
    folder = plant_rapl(tmp_path)
    with (
        Ticking(folder / "intel-rapl:0" / "energy_uj"),
        pytest.raises(ResourceError, match="nothing here measures the GPU: there is no") as caught,
    ):
        find_meter(tmp_path, gpu=True, library="libnothing.so")
    assert caught.value.code == "power.none"


class TestCpuTime:
    def test_it_is_the_formula(self, monkeypatch):
        monkeypatch.setattr(cpu_time, "perf_counter", lambda: 10.0)
        monkeypatch.setattr(cpu_time, "process_time", lambda: 3.0)
        meter = CpuTimeMeter(PowerModel(2.0, 7.0, "here"))
        assert meter.read() == 0
        monkeypatch.setattr(cpu_time, "perf_counter", lambda: 14.0)
        monkeypatch.setattr(cpu_time, "process_time", lambda: 8.0)
        assert meter.read() == 2.0 * 4 + 7.0 * 5
        assert meter.info.source == "2 W idle + 7 W a busy core (here)"

    def test_it_sees_work(self):
        meter = CpuTimeMeter(PowerModel(0.0, 1.0))
        start = process_time()
        while process_time() < start + 0.05:
            pass
        assert meter.read() >= 0.05

    def test_constants_of_a_device_file(self):
        assert PowerModel.of({}, "x86") == PowerModel()
        constants = {"idle_watts": 1.5, "watts_per_core": 2}
        assert PowerModel.of(constants, "board.toml") == PowerModel(
            1.5, 2.0, "device file board.toml"
        )

"""Watts summed over time: the integral, and what makes it unknown."""

from __future__ import annotations

import math
import threading
from time import sleep

import pytest

from edgeexit.errors import ResourceError
from edgeexit.runtime.power import sampled
from edgeexit.runtime.power.find import find_meter
from edgeexit.runtime.power.meter import MeterInfo
from edgeexit.runtime.power.sampled import SampledMeter
from tests.runtime.power.trees import AGX_ORIN, ORIN_NANO, UNKNOWN, plant, sensor

INFO = MeterInfo("fake", "a fake sensor", "nothing", False, 0.002)


class Clock:
    """A clock that moves only when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    moved = Clock()
    monkeypatch.setattr(sampled, "perf_counter", moved)
    return moved


def quiet(watts):
    """A meter whose thread never wakes: samples are taken by reading."""
    info = MeterInfo("fake", "a fake sensor", "nothing", False, 3600.0)
    return SampledMeter(info, 1e9, watts)


def test_the_integral_is_trapezoidal(clock):
    with quiet(lambda: 10 + 4 * clock.now) as meter:
        for now in (0.5, 0.6, 2.0):
            clock.now = now
            assert meter.read() == pytest.approx(10 * now + 2 * now**2)


def test_the_thread_samples_without_being_asked():
    asked = threading.Semaphore(0)

    def watts():
        asked.release()
        return 5.0

    with SampledMeter(INFO, 100, watts) as meter:
        for _ in range(5):
            assert asked.acquire(timeout=30)
        assert meter.read() > 0
    assert not meter._thread.is_alive()
    meter.close()


def test_a_gap_is_refused(clock):
    info = MeterInfo("fake", "a fake sensor", "nothing", False, 0.02)
    meter = SampledMeter(info, 100, lambda: 5.0)
    meter.close()
    clock.now = 1.5
    with pytest.raises(ResourceError, match=r"a fake sensor was not sampled for 1\.5 s") as caught:
        meter.read()
    assert caught.value.code == "power.gap"


@pytest.mark.parametrize(
    ("watts", "said"),
    [
        (math.nan, "says nan J: a finite number"),
        (math.inf, "says inf J: a finite number"),
        (-30.0, "J drawn: a count that does not fall"),
        (1e9, "at most 100 W would be right"),
    ],
)
def test_nonsense_is_refused_not_averaged(watts, said):
    answers = [5.0]
    meter = SampledMeter(INFO, 100, lambda: answers[-1])
    answers.append(watts)
    meter._thread.join(30)
    assert not meter._thread.is_alive()
    answers.append(5.0)
    with pytest.raises(ResourceError) as caught:
        meter.read()
    assert said in caught.value.message
    assert caught.value.code == "power.nonsense"


def test_a_sensor_that_fails_in_the_thread_is_told_by_the_next_reading(tmp_path):
    with find_meter(plant(tmp_path, ORIN_NANO)).meter as meter:
        sensor(tmp_path, "curr1_input").write_text("garbage\n")
        meter._thread.join(30)
        sensor(tmp_path, "curr1_input").write_text("1000\n")
        with pytest.raises(ResourceError, match="says 'garbage'"):
            meter.read()


@pytest.mark.parametrize(
    ("board", "source", "covers"),
    [
        (ORIN_NANO, "INA3221 VDD_IN", "the whole module"),
        (AGX_ORIN, "INA3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", "the whole module"),
        (
            UNKNOWN,
            "INA3221 CARRIER_5V + CARRIER_12V",
            "all rails; one that feeds another counts twice",
        ),
    ],
)
def test_boards(tmp_path, board, source, covers):
    with find_meter(plant(tmp_path, board)).meter as meter:
        assert (meter.info.kind, meter.info.source) == ("ina3221", source)
        assert (meter.info.covers, meter.info.estimated) == (covers, False)
        assert meter.info.resolution == 0.02


@pytest.mark.parametrize(
    ("told", "resolution"), [("70\n", 0.07), ("1\n", 0.005), ("often\n", 0.02), ("-5\n", 0.02)]
)
def test_the_driver_tells_how_often_it_renews(tmp_path, told, resolution):
    plant(tmp_path, ORIN_NANO)
    sensor(tmp_path, "curr1_input").with_name("update_interval").write_text(told)
    with find_meter(tmp_path).meter as meter:
        assert meter.info.resolution == resolution


def test_joules_of_a_board(tmp_path):
    plant(tmp_path, ORIN_NANO)
    with find_meter(tmp_path).meter as meter:
        meter.close()
        before, start = meter.read_at()
        sleep(0.1)
        after, end = meter.read_at()
        assert after - before == pytest.approx(5.04 * (end - start), rel=1e-6)


def test_a_sensor_that_stands_still_is_refused_once_it_was_asked_in_vain():
    answers = [7.0]
    with quiet(lambda: answers[-1]) as meter:
        answers.append(8.0)
        meter.read()
        meter.check_moving()
        meter.read()
        with pytest.raises(ResourceError, match="says 8 W at work and idle alike") as caught:
            meter.check_moving()
        assert caught.value.code == "power.nonsense"

"""Joules of a real bundle with the meters that a machine may have; numbers, never times."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from time import perf_counter, sleep

import numpy as np
import pytest

from edgeexit.bundle.codec import decode, encode
from edgeexit.errors import ResourceError
from edgeexit.runtime import energy
from edgeexit.runtime.energy import (
    keep_energy,
    kept_energy,
    load_or_measure_energy,
    measure_energy,
    plan_windows,
)
from edgeexit.runtime.power import rapl, windows
from edgeexit.runtime.power.conditions import read_conditions
from edgeexit.runtime.power.profile import EnergyProfile, Estimate, energy_costs
from edgeexit.runtime.runtime import Runtime
from tests.runtime.power.test_conditions import plant_jetson
from tests.runtime.power.trees import ORIN_NANO, plant, plant_rapl, sensor


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory):
    """A root without sensors."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def opened(toy_bundle):
    with Runtime(toy_bundle, threads=1) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def profile(opened, nowhere):
    return measure_energy(opened, 4.0, root=nowhere)


def test_a_machine_without_sensors_estimates_and_says_so(profile, opened):
    assert profile.fingerprint == opened.machine.fingerprint
    assert profile.meter.kind == "cpu-time"
    assert profile.meter.estimated
    assert profile.refused == ()
    assert profile.rounds >= 8
    assert profile.window_seconds >= 0.05
    # The formula's own idle power comes back, a little above it for what the windows cost.
    assert profile.idle.value == pytest.approx(5.0, abs=1.0)


def test_what_the_parts_add_up_to(profile):
    exits = [estimate.value for estimate in profile.exits]
    np.testing.assert_allclose(np.cumsum([stage.value for stage in profile.stages]), exits)
    marginal = np.array([*exits, profile.static.value])
    totals = np.array([e.value for e in (*profile.exits_total, profile.static_total)])
    assert np.all(marginal > 0)
    # A busy thread draws at most 5 W beyond idle, so idle power is the larger half of the total.
    assert np.all(totals > 1.5 * marginal)
    assert all(e.error > 0 for e in (*profile.exits, *profile.stages, profile.static))


def test_costs_for_calibration(profile):
    costs, errors = energy_costs(profile)
    totals, _ = energy_costs(profile, total=True)
    np.testing.assert_allclose(
        costs, np.maximum.accumulate([1000 * e.value for e in profile.exits])
    )
    np.testing.assert_allclose(errors, [1000 * e.error for e in profile.exits])
    assert np.all(np.diff(costs) >= 0)
    assert np.all(totals > costs)


def test_exits_that_cross_within_their_errors_do_not_fall(profile):
    crossed = (Estimate(0.010, 0.001), Estimate(0.0095, 0.001), Estimate(0.02, 0.001))
    costs, errors = energy_costs(replace(profile, exits=crossed))
    np.testing.assert_allclose(costs, [10, 10, 20])
    np.testing.assert_allclose(errors, [1, 1, 1])


@pytest.mark.parametrize("value", [0.0019, -0.01])
def test_a_cost_that_is_not_told_from_zero_is_refused(profile, value):
    lost = (Estimate(0.01, 0.001), Estimate(value, 0.001), Estimate(0.02, 0.001))
    with pytest.raises(ResourceError, match=r"the energy of exit 2 is .* mJ with a standard") as e:
        energy_costs(replace(profile, exits=lost))
    assert e.value.code == "energy.noise"
    assert "--seconds" in e.value.hint


def test_it_is_kept_beside_the_latency_profile(opened, profile, toy_bundle, cache):
    with Runtime(toy_bundle, threads=1) as runtime:
        assert kept_energy(runtime.machine.cache) is None
        keep_energy(runtime, profile)
        assert list(cache.rglob("energy.json"))
        assert load_or_measure_energy(runtime) == profile
        runtime.machine.cache.write_json("energy", {"fingerprint": 3})
        assert kept_energy(runtime.machine.cache) is None


def test_what_was_drawn_in_another_power_mode_is_measured_again(
    opened, profile, toy_bundle, cache, tmp_path, monkeypatch, caplog
):
    root = plant_jetson(tmp_path / "root")
    again = replace(profile, rounds=99)
    monkeypatch.setattr(energy, "measure_energy", lambda *_, **__: again)
    with Runtime(toy_bundle, threads=1) as runtime:
        here = replace(profile, before=read_conditions(root))
        keep_energy(runtime, here)
        assert load_or_measure_energy(runtime, root=root) == here
        (root / "var/lib/nvpmodel/status").write_text("pmode:0000\n")
        assert load_or_measure_energy(runtime, root=root) == again
        assert kept_energy(runtime.machine.cache) == again
    (warning,) = caplog.messages
    assert warning.startswith("energy is measured again: it was in the mode 'power mode 25W, cpu")
    assert "this is 'power mode 15W, cpu" in warning


def test_it_goes_through_json(profile):
    assert decode(EnergyProfile, json.loads(json.dumps(encode(profile))), "energy") == profile


def test_too_little_time_says_how_much_would_do(opened, nowhere):
    with pytest.raises(ResourceError, match=r"0\.5 s are too short .* cpu-time, which renews") as e:
        measure_energy(opened, 0.5, root=nowhere)
    assert e.value.code == "energy.rounds"
    assert "--seconds 3 or more" in e.value.hint


@pytest.mark.parametrize(
    ("seconds", "rounds", "window"),
    # A round: five windows of 52 ms and five idle ones of 27 ms.
    [(None, 75, 0.05), (3.2, 8, 0.05), (39.5, 100, 0.05), (3600.0, 1000, 3.58 / 7.5)],
)
def test_rounds_and_windows(profile, seconds, rounds, window):
    planned = plan_windows(5, 0.05, seconds, profile.meter)
    assert planned == (rounds, pytest.approx(window))


def test_a_slow_sensor_gets_the_time_it_needs(profile):
    slow = replace(profile.meter, resolution=0.1)
    assert plan_windows(5, 5.0, None, slow) == (8, pytest.approx(5.0))


def test_constants_of_a_device_file(toy_bundle, tmp_path, monkeypatch, nowhere):
    monkeypatch.setattr(energy, "WINDOW_PERIODS", 8)
    builtin = resources.files("edgeexit.targets").joinpath("devices", "cpu.toml").read_text()
    device = tmp_path / "board.toml"
    constants = "[power]\nidle_watts = 2\nwatts_per_core = 3.5\n"
    device.write_text(builtin.replace('"cpu"', '"board"') + constants)
    with Runtime(toy_bundle, target=device, threads=1) as runtime:
        found = measure_energy(runtime, 2.0, root=nowhere)
    assert found.meter.source == "2 W idle + 3.5 W a busy core (device file board)"
    assert found.idle.value == pytest.approx(2.0, abs=1.0)


def write(file, number):
    """Put a number into a sensor; a reader finds the old one or the new one."""
    replacement = file.with_name("next")
    replacement.write_text(f"{round(number)}\n")
    replacement.replace(file)


def watch(monkeypatch, before, after):
    """Have every call and every sleep tell when it starts and when it is over, idle being -1."""
    make_calls = energy._calls

    def told(number, call):
        def run(*arguments):
            before(number)
            call(*arguments)
            after(number)

        return run

    def calls(*arguments):
        return [told(number, call) for number, call in enumerate(make_calls(*arguments))]

    monkeypatch.setattr(energy, "_calls", calls)
    monkeypatch.setattr(windows, "sleep", told(-1, sleep))


def count_joules(file, monkeypatch, idle, joules):
    """Make a counter on disk that draws ``idle`` watts and so many joules a call, exactly."""
    drawn, begun, read = [5.0], perf_counter(), rapl.read_number

    def after(number):
        drawn[0] += joules[number] if number >= 0 else 0.0

    def tick(path, driver):
        if path == file:
            write(file, 1e6 * (drawn[0] + idle * (perf_counter() - begun)))
        return read(path, driver)

    watch(monkeypatch, lambda number: None, after)
    monkeypatch.setattr(rapl, "read_number", tick)


def draw_watts(file, monkeypatch, milliamperes):
    """Make a rail on disk that draws so many milliamperes while each call runs, the last idle."""
    now = [None]

    def before(number):
        if now[0] != number and file.exists():
            now[0] = number
            write(file, milliamperes[number])

    watch(monkeypatch, before, lambda number: None)


@pytest.fixture
def board(tmp_path, monkeypatch):
    """An Orin Nano on disk whose driver renews every 5 ms; windows of 8 periods keep it short."""
    monkeypatch.setattr(energy, "WINDOW_PERIODS", 8)
    plant(tmp_path, ORIN_NANO)
    sensor(tmp_path, "curr1_input").with_name("update_interval").write_text("5\n")
    return tmp_path


def test_known_joules_come_back_through_the_counters_of_a_processor(opened, tmp_path, monkeypatch):
    file = plant_rapl(tmp_path) / "intel-rapl:0" / "energy_uj"
    # A call of the toy takes 50 microseconds: more joules were more watts than a meter believes.
    known = (0.0008, 0.0012, 0.0018, 0.0014)
    count_joules(file, monkeypatch, 1.0, known)
    profile = measure_energy(opened, 4.0, root=tmp_path)
    assert (profile.meter.kind, profile.meter.estimated) == ("rapl", False)
    assert profile.refused == ()
    measured = [estimate.value for estimate in (*profile.exits, profile.static)]
    np.testing.assert_allclose(measured, known, rtol=0.03)
    stages = [stage.value for stage in profile.stages]
    np.testing.assert_allclose(stages, [0.0008, 0.0004, 0.0006], rtol=0.1)
    assert profile.idle.value == pytest.approx(1.0, rel=0.1)


def test_known_watts_come_back_through_the_rails_of_a_board(opened, board, monkeypatch):
    amperes = (600, 800, 1000, 700, 200)
    draw_watts(sensor(board, "curr1_input"), monkeypatch, amperes)
    done = []
    profile = measure_energy(opened, 4.0, root=board, progress=done.append)
    assert (profile.meter.kind, profile.meter.source) == ("ina3221", "INA3221 VDD_IN")
    assert not profile.meter.estimated
    assert profile.refused == ()
    assert done[-1] == 1.0
    assert profile.idle.value == pytest.approx(5.04 * 0.2, rel=0.05)
    marginal = np.array([e.value for e in (*profile.exits, profile.static)])
    total = np.array([e.value for e in (*profile.exits_total, profile.static_total)])
    # Watts at work over watts at idle.
    expected = np.array(amperes[:-1]) / amperes[-1]
    np.testing.assert_allclose(total / (total - marginal), expected, rtol=0.05)


def test_sensors_that_stand_still_are_refused_and_the_next_best_starts_anew(opened, board):
    profile = measure_energy(opened, 4.0, root=board)
    assert profile.meter.kind == "cpu-time"
    (reason,) = profile.refused
    assert reason.startswith(
        "ina3221: the power sensor INA3221 VDD_IN says 5.04 W at work and idle"
    )


def test_sensors_that_go_while_it_measures_are_refused(opened, board, monkeypatch):
    file, gone = sensor(board, "curr1_input"), []
    draw_watts(file, monkeypatch, (600, 800, 1000, 700, 200))

    def pull(done):
        if not gone:
            gone.append(done)
            file.unlink()

    profile = measure_energy(opened, 4.0, root=board, progress=pull)
    assert gone[0] < 0.5
    assert profile.meter.estimated
    (reason,) = profile.refused
    assert "curr1_input is gone" in reason

"""RAPL's counters on disk: packages summed, wrapped, refused. Real chips are not proven here."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeexit.errors import ResourceError
from edgeexit.runtime.power import meter as power_meter
from edgeexit.runtime.power import rapl
from edgeexit.runtime.power.rapl import RaplMeter, find_domains
from tests.runtime.power.trees import Ticking, plant_rapl

JOULE = 1_000_000


def put(folder, count, domain="intel-rapl:0"):
    (folder / domain / "energy_uj").write_text(f"{count}\n")


def test_packages_are_summed_and_their_parts_are_not(tmp_path):
    folder = plant_rapl(tmp_path, ("package-0", "package-1-die-0"))
    meter = RaplMeter(find_domains(tmp_path))
    assert meter.info.source == "RAPL package-0 + package-1-die-0"
    assert (meter.info.kind, meter.info.estimated, meter.info.resolution) == ("rapl", False, 0.001)
    assert meter.read() == 0
    put(folder, 5_500_000)
    put(folder, 5_250_000, "intel-rapl:1")
    for part in ("intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:9"):
        put(folder, 9_000_000, part)
    assert meter.read() == pytest.approx(0.75)
    assert meter.read() == pytest.approx(0.75)


def test_a_counter_that_wraps_goes_on(tmp_path):
    largest = 262_143_328_850
    folder = plant_rapl(tmp_path, count=largest - 99_999, largest=largest)
    meter = RaplMeter(find_domains(tmp_path))
    put(folder, 100_000)
    assert meter.read() == pytest.approx(0.2)
    put(folder, 300_000)
    assert meter.read() == pytest.approx(0.4)


def test_many_wraps(tmp_path, monkeypatch):
    now = [0.0]
    for module in (rapl, power_meter):
        monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    folder = plant_rapl(tmp_path, count=0, largest=12 * JOULE - 1)
    meter = RaplMeter(find_domains(tmp_path))
    for step in range(1, 101):
        now[0] += 0.01
        put(folder, 5 * step * JOULE % (12 * JOULE))
        assert meter.read() == pytest.approx(5 * step)


def test_a_counter_that_falls_is_refused_for_good(tmp_path):
    folder = plant_rapl(tmp_path)
    meter = RaplMeter(find_domains(tmp_path))
    put(folder, 4_000_000)
    with pytest.raises(ResourceError, match="at most 600 W would be right") as caught:
        meter.read()
    assert caught.value.code == "power.nonsense"
    put(folder, 6_000_000)
    with pytest.raises(ResourceError) as again:
        meter.read()
    assert again.value is caught.value
    assert RaplMeter(find_domains(tmp_path)).read() == 0


def test_a_jump_is_refused(tmp_path):
    folder = plant_rapl(tmp_path)
    meter = RaplMeter(find_domains(tmp_path))
    put(folder, 5_000_000 + 10_000 * JOULE)
    with pytest.raises(ResourceError, match=r"10000 J in .* s: at most 600 W would be right"):
        meter.read()


def test_a_frozen_counter_is_refused(tmp_path):
    plant_rapl(tmp_path)
    with pytest.raises(ResourceError, match=r"says 0 J in 0\.005 s: a count that rises") as caught:
        RaplMeter(find_domains(tmp_path)).prove()
    assert caught.value.code == "power.nonsense"


def test_a_counter_that_ticks_is_proven(tmp_path):
    folder = plant_rapl(tmp_path)
    with Ticking(folder / "intel-rapl:0" / "energy_uj"):
        RaplMeter(find_domains(tmp_path)).prove()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nan", "says 'nan': a whole number would be right"),
        ("", "says '': a whole number would be right"),
        ("-1", "says -1 uJ: 0 to 262143328850 uJ would be right"),
        ("262143328851", "says 262143328851 uJ: 0 to 262143328850 uJ would be right"),
    ],
)
def test_nonsense_is_refused(tmp_path, content, said):
    folder = plant_rapl(tmp_path)
    put(folder, content)
    with pytest.raises(ResourceError) as caught:
        RaplMeter(find_domains(tmp_path))
    assert said in caught.value.message
    assert "intel-rapl:0/energy_uj" in caught.value.message


def test_a_counter_without_a_range_is_refused(tmp_path):
    folder = plant_rapl(tmp_path)
    (folder / "intel-rapl:0" / "max_energy_range_uj").write_text("0\n")
    with pytest.raises(ResourceError, match="says 0 uJ: a positive range would be right"):
        find_domains(tmp_path)


def test_no_rapl_is_no_error(tmp_path):
    assert find_domains(tmp_path) == ()


def test_a_wait_in_which_a_counter_may_turn_twice(tmp_path):
    plant_rapl(tmp_path, largest=6 * JOULE)
    meter = RaplMeter(find_domains(tmp_path))
    meter._counted_at -= 1
    with pytest.raises(ResourceError, match=r"not read for 1 s: in more than 0 s") as caught:
        meter.read()
    assert caught.value.code == "power.gap"
    assert rapl.HIGHEST_POWER == 600


def test_without_permission_it_says_what_to_do(unprivileged):
    folder = plant_rapl(unprivileged)
    (folder / "intel-rapl:0" / "energy_uj").chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    with pytest.raises(ResourceError, match="energy_uj may not be read") as caught:
        RaplMeter(find_domains(unprivileged))
    assert caught.value.code == "power.permission"
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in caught.value.hint


def test_threads_share_a_meter(tmp_path):
    folder = plant_rapl(tmp_path)
    meter = RaplMeter(find_domains(tmp_path))
    file = folder / "intel-rapl:0" / "energy_uj"
    with Ticking(file), ThreadPoolExecutor(4) as pool:
        ran = list(pool.map(lambda _: [meter.read() for _ in range(50)], range(4)))
    assert all(readings == sorted(readings) for readings in ran)
    assert meter.read() == pytest.approx(int(file.read_text()) / JOULE - 5)

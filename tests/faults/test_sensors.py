"""Sensor trees on disk that lie, vanish or stand still: refused with one reason, never averaged."""

from __future__ import annotations

import math
import random
import threading

import pytest

from edgeexit.errors import ResourceError
from edgeexit.runtime.power import meter as power_meter
from edgeexit.runtime.power import rapl
from edgeexit.runtime.power.conditions import read_conditions
from edgeexit.runtime.power.find import find_meter
from edgeexit.runtime.power.ina3221 import HIGHEST_POWER, find_rails
from edgeexit.runtime.power.rapl import RaplMeter, find_domains
from tests.faults.counts import count
from tests.runtime.power.test_conditions import plant_machine
from tests.runtime.power.trees import (
    AGX_ORIN,
    ORIN_NANO,
    THOR,
    Ticking,
    plant,
    plant_rapl,
    sensor,
)

MUTANTS = count(1000, 10_000)
COUNTER = "sys/class/powercap/intel-rapl:0/energy_uj"
WORDS = (
    b"", b"\n", b"nan\n", b"inf\n", b"-inf\n", b"-1\n", b"-99999999\n", b"+5\n", b"0\n", b"1e9\n",
    b"0x10\n", b"12 34\n", b"5.5\n", b"5,5\n", b"1_000\n", b"9" * 300, b"999999999999999999\n",
    b"-0\n", b"\x00\x00\x00\x00", b"\xff\xfe1\x002\x00", "٣٤\n".encode(), b"NC\n", b"VDD_IN\n",
    b"VIN_SYS_5V0\n", b"package-0\n", b"ina3221\n", b"<not supported>\n", b"99999\n", b"True\n",
)  # fmt: skip


def _mutate(rng, data):
    """Return a word of its own, or the contents with a byte changed, cut, doubled or replaced."""
    if not data or rng.random() < 0.4:
        return rng.choice(WORDS)
    place = rng.randrange(len(data))
    return rng.choice(
        (
            data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
            data[:place],
            data[:place] + b"-" + data[place:],
            data.strip() + data,
            data[:place] + rng.randbytes(rng.randint(1, 8)) + data[place:],
            rng.randbytes(rng.randint(1, 40)),
        )
    )


def _watts(root):
    """Return the watts of the module and of each rail, or the refusal."""
    try:
        rails = find_rails(root)
        if rails is None:
            return None
        assert 0 < rails.update_seconds() <= 1
        return [rails.read()], [watts for _, watts in rails.read_each()]
    except ResourceError as error:
        return error


def _joules(root):
    """Return the joules between two readings of RAPL, or the refusal."""
    try:
        domains = find_domains(root)
        return RaplMeter(domains).read() if domains else None
    except ResourceError as error:
        return error


@pytest.mark.timeout(900)
def test_no_mutant_of_a_sensor_file_gives_a_number_that_cannot_be(tmp_path):
    rng = random.Random(20260101)
    boards = []
    for number, board in enumerate((ORIN_NANO, AGX_ORIN, THOR)):
        root = plant_machine(plant(tmp_path / str(number), board))
        plant_rapl(root)
        for folder in (root / "sys/devices").rglob("hwmon*"):
            if (folder / "in1_input").exists():
                (folder / "update_interval").write_text("5\n")
        files = sorted(path for path in (root / "sys").rglob("*") if path.is_file())
        boards.append((root, [file for file in files if not file.is_symlink()]))
    refused = read = 0
    for number in range(MUTANTS):
        root, files = boards[number % len(boards)]
        file = files[number // len(boards) % len(files)]
        before = file.read_bytes()
        file.write_bytes(_mutate(rng, before))
        for found in (_watts(root), _joules(root)):
            if isinstance(found, ResourceError):
                assert found.code.startswith("power."), (file, found)
                assert found.hint
                refused += 1
            elif isinstance(found, tuple):
                (total,), each = found
                assert 0 < total <= HIGHEST_POWER * 3, (file, found)
                # An unloaded rail reads within the chip's offset of zero, and is kept as it is.
                assert all(-1 <= watts <= HIGHEST_POWER for watts in each), (file, found)
                read += 1
            else:
                assert found in (None, 0), (file, found)
        conditions = read_conditions(root)
        assert all(-60 <= heat <= 200 for _, heat in conditions.temperatures), file
        assert conditions.megahertz is None or 0 <= conditions.megahertz < math.inf
        assert conditions.summary.isprintable()
        file.write_bytes(before)
    assert refused > MUTANTS // 10
    assert read > MUTANTS // 10


RAPL_FAULTS = {
    "missing": (lambda file: file.unlink(), "power.gone", "is gone"),
    "garbage": (lambda file: file.write_text("12 uJ\n"), "power.nonsense", "says '12 uJ'"),
    "empty": (lambda file: file.write_text(""), "power.nonsense", "says ''"),
    "negative": (lambda file: file.write_text("-5\n"), "power.nonsense", "says -5 uJ"),
    "a jump": (lambda file: file.write_text(f"{10**11}\n"), "power.nonsense", "at most 600 W"),
    "falls": (lambda file: file.write_text("1\n"), "power.nonsense", "at most 600 W"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "power.sensor", "cannot be read"),
}


@pytest.mark.parametrize(("spoil", "code", "said"), RAPL_FAULTS.values(), ids=RAPL_FAULTS)
def test_a_counter_that_breaks_is_refused_for_good_and_once(tmp_path, spoil, code, said):
    """In the middle of a measurement, and where a meter is looked for."""
    plant_rapl(tmp_path)
    file = tmp_path / COUNTER
    meter = RaplMeter(find_domains(tmp_path))
    file.write_text("5250000\n")
    before = meter.read()
    assert before == pytest.approx(0.25)
    spoil(file)
    for _ in range(3):
        with pytest.raises(ResourceError, match="power sensor") as caught:
            meter.read()
        assert (caught.value.code, said in caught.value.message) == (code, True), caught.value
    found = find_meter(tmp_path)
    with found.meter as fallback:
        assert fallback.info.kind == "cpu-time"
        assert fallback.info.estimated
    (reason,) = found.refused
    assert reason.startswith("rapl: the power sensor ")


RAIL_FAULTS = {
    "missing": ("curr1_input", None, "is gone"),
    "garbage": ("curr1_input", b"1 A\n", "says '1 A'"),
    "negative": ("curr1_input", b"-900\n", "no negative current"),
    "no voltage": ("in1_input", b"0\n", "says 0 mV while 1000 mA flow"),
    "too high": ("in1_input", b"26001\n", "0 to 26000 mV"),
    "too much": ("curr1_input", b"99999999\n", "at most 200 W"),
    "a slow one": ("update_interval", b"99999\n", "says 99999 ms: at most 1000 ms"),
}


@pytest.mark.parametrize(("name", "content", "said"), RAIL_FAULTS.values(), ids=RAIL_FAULTS)
def test_a_rail_that_breaks_falls_back_with_one_reason(tmp_path, name, content, said):
    plant(tmp_path, ORIN_NANO)
    file = sensor(tmp_path, "in1_input").with_name(name)
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)
    found = find_meter(tmp_path)
    with found.meter as meter:
        assert (meter.info.kind, meter.info.estimated) == ("cpu-time", True)
        assert meter.read() >= 0
    (reason,) = found.refused
    assert reason.startswith("ina3221: the power sensor ")
    assert said in reason
    assert "Hint: " in reason


def test_a_rail_that_breaks_while_it_is_sampled_is_not_averaged(tmp_path):
    """The joules up to the fault are not given out either: what came after it is unknown."""
    plant(tmp_path, ORIN_NANO)
    sensor(tmp_path, "in1_input").with_name("update_interval").write_text("5\n")
    before = threading.active_count()
    with find_meter(tmp_path).meter as meter:
        assert meter.info.kind == "ina3221"
        assert meter.read() > 0
        sensor(tmp_path, "curr1_input").write_text("nan\n")
        for _ in range(3):
            with pytest.raises(ResourceError, match="says 'nan': a whole number would be right"):
                meter.read()
        sensor(tmp_path, "curr1_input").write_text("1000\n")
        with pytest.raises(ResourceError, match="says 'nan'"):
            meter.read()
    assert threading.active_count() == before


def test_a_sensor_that_stands_still_is_stale(tmp_path):
    """RAPL's count at once, watts once work and idle time have alternated."""
    plant_rapl(tmp_path / "rapl")
    (reason,) = find_meter(tmp_path / "rapl").refused
    assert "says 0 J in 0.005 s: a count that rises would be right" in reason
    plant(tmp_path / "rails", ORIN_NANO)
    with (
        find_meter(tmp_path / "rails").meter as meter,
        pytest.raises(ResourceError, match="W at work and idle alike: a power") as caught,
    ):
        meter.check_moving()
    assert caught.value.code == "power.nonsense"


def test_a_counter_that_wraps_at_every_place_counts_on(tmp_path, monkeypatch):
    """Random steps over random ranges, on a fake clock: the sum is the truth to the microjoule."""
    now = [0.0]
    for module in (rapl, power_meter):
        monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    rng, wraps = random.Random(3), 0
    for number in range(10):
        largest = (2**32 - 1, 262_143_328_850, 65_532_610_987, 10**9)[number % 4]
        truth = start = largest - rng.randrange(10**9)
        root = tmp_path / str(number)
        plant_rapl(root, count=start, largest=largest)
        meter = RaplMeter(find_domains(root))
        for _ in range(count(30, 1000)):
            now[0] += 1.0
            step = rng.randrange(min(600_000_000, largest))
            wraps += (truth + step) // (largest + 1) - truth // (largest + 1)
            truth += step
            (root / COUNTER).write_text(f"{truth % (largest + 1)}\n")
            assert meter.read() == pytest.approx((truth - start) / 1e6, rel=1e-12)
    assert wraps > 20


def test_a_live_counter_beside_a_broken_board_is_taken(tmp_path):
    """The next best meter, with the better one's reason, once."""
    plant(tmp_path, AGX_ORIN)
    plant_rapl(tmp_path)
    sensor(tmp_path, "in2_label").unlink()
    with Ticking(tmp_path / COUNTER):
        found = find_meter(tmp_path)
    assert found.meter.info.kind == "rapl"
    (reason,) = found.refused
    assert "but not VDD_CPU_CV: their sum would be too small" in reason

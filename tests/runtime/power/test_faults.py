"""Sensor trees with one file broken: a meter that works, or a refusal that says why; no crash."""

from __future__ import annotations

import math
import random
import shutil

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.find import find_meter
from tests.runtime.power.trees import AGX_ORIN, ORIN_NANO, THOR, plant, plant_rapl

TREES = 60
CONTENTS = (
    b"", b"\n", b"nan\n", b"inf", b"-1\n", b"-99999999\n", b"0\n", b"1\n", b"9" * 300,
    b"\xff\xfe\x00", b"1e9\n", b"0x10\n", b"12 34\n", b"NC\n", b"VDD_IN\n", b"VIN_SYS_5V0\n",
    b"26001\n", b"\xd9\xa3\xd9\xa4\n", b"999999999999999999\n", b"intel-rapl\n", b"package-0\n",
    b"ina3221\n",
)  # fmt: skip


def break_one(root, rng):
    """Replace, delete or turn into a folder one file of the tree; return what was done."""
    files = sorted(path for path in (root / "sys").rglob("*") if path.is_file())
    file = rng.choice(files)
    how = rng.choice(("content", "content", "content", "gone", "folder", "loop"))
    if how == "content":
        file.write_bytes(rng.choice(CONTENTS))
        return file, how
    file.unlink()
    if how == "folder":
        file.mkdir()
    if how == "loop":
        file.symlink_to(file.name)
    return file, how


def read(meter):
    try:
        return meter.read(), None
    except ResourceError as error:
        return 0.0, error.code


def test_one_broken_file(tmp_path):
    rng = random.Random(5)
    kinds, refusals = set(), 0
    for number in range(TREES):
        root = tmp_path / str(number)
        plant(root, rng.choice((ORIN_NANO, AGX_ORIN, THOR)))
        for folder in (root / "sys/devices").rglob("hwmon*"):
            if (folder / "in1_input").exists():
                (folder / "update_interval").write_text("5\n")
        plant_rapl(root)
        broken = break_one(root, rng)
        found = find_meter(root)
        with found.meter as meter:
            kinds.add(meter.info.kind)
            joules, code = read(meter)
        assert code is None or code.startswith("power."), broken
        assert math.isfinite(joules), broken
        assert 0 <= joules < 1000, broken
        # RAPL's planted counters do not move, so it is refused wherever INA3221 is.
        if meter.info.kind == "cpu-time":
            assert found.refused, broken
            refusals += 1
        assert all("Hint: " in reason for reason in found.refused), broken
        shutil.rmtree(root)
    assert kinds == {"ina3221", "cpu-time"}
    assert 10 < refusals < TREES - 10

"""``edgeexit profile``: what it says of joules, of batches, and of what it cannot measure."""

from __future__ import annotations

import re

import pytest

from edgeexit.runtime.power.find import find_meter


@pytest.fixture(scope="module")
def sensors():
    """Whether this machine has power sensors that may be read."""
    with find_meter().meter as meter:
        return not meter.info.estimated


def test_energy(edgeexit, work, sensors):
    done = edgeexit(
        "profile", "model.eex", "--energy", "--seconds", "4", "--batches", "1", "--json"
    )
    assert done.code == 0, done.stderr
    energy = done.json["energy"]
    assert energy["meter"]["estimated"] is not sensors
    assert energy["rounds"] >= 8
    for key in ("exits", "stages", "exits_total"):
        assert len(energy[key]) == 3
        assert all(set(estimate) == {"value", "error"} for estimate in energy[key])
    marginal, total = energy["static"], energy["static_total"]
    assert total["value"] > marginal["value"]
    assert total["error"] > 0
    stages = sum(stage["value"] for stage in energy["stages"])
    assert stages == pytest.approx(energy["exits"][-1]["value"])
    assert set(energy["before"]) == {"load", "clocks", "temperatures", "power_mode"}


def test_text_marks_what_is_estimated(edgeexit, work, sensors):
    done = edgeexit("profile", "model.eex", "--energy", "--seconds", "4", "--batches", "1,2")
    assert done.code == 0, done.stderr
    assert re.search(r"^median ms +batch 1 +batch 2$", done.stdout, re.M)
    assert re.search(r"^leaves at exit 3 +[\d.e-]+ ± ", done.stdout, re.M)
    if not sensors:
        assert "energy estimated, not measured, by 5 W idle + 5 W a busy core" in done.stdout
        assert "estimated mJ beyond idle" in done.stdout
        assert "estimated mJ with idle" in done.stdout


def test_what_the_calibrated_budget_comes_to_in_batches(edgeexit, work):
    words = ("profile", "model.eex", "--seconds", "0.1", "--batches", "1,8")
    done = edgeexit(*words, "--json")
    assert done.code == 0, done.stderr
    modes = done.json["modes"]
    assert [(mode["mode"], mode["batch"]) for mode in modes] == [
        ("single", 1), ("compacted", 8), ("whole", 8),
    ]  # fmt: skip
    for mode in modes:
        assert mode["cost"] == pytest.approx(mode["milliseconds"] / mode["static"])
    assert [len(batch["moves"]) for batch in done.json["batches"]] == [2, 2]
    (work / "model.eex" / "exits.json").unlink()
    done = edgeexit(*words)
    assert done.code == 0, done.stderr
    assert "calibrated budget" not in done.stdout
    (work / "model.eex" / "exits.json").write_text("{}")
    done = edgeexit(*words)
    assert done.code == 0, done.stderr
    assert "warning: " in done.stderr
    assert "calibrated budget" not in done.stdout


def test_text_tells_the_modes_apart(edgeexit, work):
    done = edgeexit("profile", "model.eex", "--seconds", "0.1", "--batches", "1,8")
    assert done.code == 0, done.stderr
    assert re.search(r"^8 +samples leave the batch +[\d.]+ +[\d.]+$", done.stdout, re.M)
    assert re.search(r"^8 +all wait +[\d.]+ +[\d.]+$", done.stdout, re.M)


def test_too_short_for_joules(edgeexit, work):
    done = edgeexit("profile", "model.eex", "--energy", "--seconds", "0.1")
    done.failed(8, "0.1 s are too short to measure energy", "--seconds ")


@pytest.mark.parametrize("sizes", ["0", "1,x", "-1", "2.5", "1025", "9" * 30])
def test_sizes_that_are_none(edgeexit, work, sizes):
    done = edgeexit("profile", "model.eex", "--batches", sizes)
    assert done.code == 2
    assert "is not a list of whole numbers from 1 to 1024, such as 1,8,32" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "86401"])
def test_times_that_are_none(edgeexit, work, seconds):
    done = edgeexit("profile", "model.eex", "--seconds", seconds)
    assert done.code == 2
    assert "is no time from 0 to 86400 s" in done.stderr
    assert "Traceback" not in done.stderr

"""Budgets in joules on the command line: the numbers, and the word *estimated* beside them."""

from __future__ import annotations

import pytest

from edgeexit.bundle.bundle import Bundle
from tests.calibrate.energies import keep_made_up
from tests.cli.test_verbs import documented

BUDGET, RESOURCE = 7, 8
CALIBRATE = ("calibrate", "model.eex", "--data", "data.npz")


@pytest.fixture
def kept(work, monkeypatch):
    """A function that puts an energy profile into the cache that the commands use."""
    monkeypatch.setenv("EDGEEXIT_CACHE", str(work / "cache"))

    def keep(*exits, **changes):
        keep_made_up(Bundle.open(work / "model.eex"), exits, **changes)

    return keep


@pytest.mark.parametrize("estimated", [True, False])
def test_a_budget_in_millijoules(edgeexit, work, kept, estimated):
    kept(0.010, 0.020, 0.040, estimated=estimated)
    done = edgeexit(*CALIBRATE, "--budget", "22mJ", "--json")
    assert done.code == 0, done.stderr
    answer = done.json
    assert set(answer) == documented("calibrate")
    assert (answer["cost"], answer["estimated"]) == ("energy", estimated)
    assert answer["point"]["cost"] == pytest.approx(22.0)
    assert answer["point"]["relative"] == pytest.approx(22 / 40)
    assert answer["table"][0]["budget"] == pytest.approx(10.0)
    text = edgeexit(*CALIBRATE, "--budget", "0.022J").stdout
    marked = "22 mJ (estimated)" if estimated else "22 mJ"
    assert f"at budget {marked}: accuracy " in text
    assert ("budget (estimated)  cost / static" in text) == estimated
    assert ("energy is estimated from processor time, not measured" in text) == estimated
    assert ("estimated" in text) == estimated
    inspected = edgeexit("inspect", "model.eex", "--json").json["calibration"]
    assert inspected["budget"] == marked
    assert inspected["estimated"] == (["energy"] if estimated else [])
    assert inspected["bounds"]["energy"] == [pytest.approx(10.0), pytest.approx(40.0)]
    told = edgeexit("inspect", "model.eex").stdout
    assert f"energy 10 to 40 mJ{' (estimated)' if estimated else ''}" in told
    run = edgeexit("run", "model.eex", "--input", "data.npz", "--json").json
    assert run["budget"] == marked
    words = ("--data", "data.npz", "--rounds", "5", "--batch", "1", "--json")
    assert edgeexit("bench", "model.eex", *words).json["budget"] == marked


def test_a_guarantee_and_a_sweep_say_what_is_estimated(edgeexit, work, kept):
    kept(0.010, 0.020, 0.040, estimated=True)
    words = (*CALIBRATE, "--budget", "30mJ", "--guarantee", "0.95", "--iid")
    assert "mean cost at most 30 mJ (estimated)" in edgeexit(*words).stdout
    words = (*CALIBRATE, "--cost", "energy", "--sweep")
    answer = edgeexit(*words, "--json").json
    assert set(answer) == documented("calibrate --sweep")
    assert (answer["cost"], answer["estimated"]) == ("energy", True)
    text = edgeexit(*words).stdout
    assert "budget (estimated)" in text
    assert " mJ (estimated)  " in text
    assert "of the static model's cost (estimated)" in text


def test_the_least_energy_is_recommended(edgeexit, work, kept):
    kept(0.010, 0.020, 0.040)
    answer = edgeexit(*CALIBRATE, "--cost", "energy", "--max-drop", "5", "--json").json
    assert answer["recommended"]
    assert answer["cost"] == "energy"
    assert answer["point"]["drop"] <= 5.0


def test_what_is_refused(edgeexit, work, kept):
    kept(0.010, 0.020, 0.040, estimated=True)
    before = (work / "model.eex" / "exits.json").read_bytes()
    done = edgeexit(*CALIBRATE, "--budget", "41mJ")
    done.failed(BUDGET, "always at the last 40 mJ (estimated)", "profile --energy measures again")
    kept(0.010, 0.020, 0.040, error=0.02)
    edgeexit(*CALIBRATE, "--budget", "22mJ").failed(RESOURCE, "does not tell", "--seconds N")
    edgeexit("run", "model.eex", "--input", "data.npz", "--budget", "22mJ").failed(
        BUDGET, "calibrated for flops, not energy"
    )
    assert (work / "model.eex" / "exits.json").read_bytes() == before

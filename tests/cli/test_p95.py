"""``edgeexit calibrate --p95``: what it says, stores and refuses."""

from __future__ import annotations

import pytest

from edgeexit.bundle.bundle import Bundle
from tests.calibrate.call_times import keep_evenly
from tests.cli.test_verbs import documented

INPUT, BUDGET = 3, 7
CALIBRATE = ("calibrate", "model.eex", "--data", "data.npz")


@pytest.fixture
def kept(work, monkeypatch):
    """Times of calls in the cache that the commands use: 1 to 2, 2 to 4 and 4 to 7 ms an exit."""
    monkeypatch.setenv("EDGEEXIT_CACHE", str(work / "cache"))
    keep_evenly(Bundle.open(work / "model.eex"), (1.0, 2.0), (2.0, 4.0), (4.0, 7.0))


def test_a_limit(edgeexit, work, kept):
    done = edgeexit(*CALIBRATE, "--p95", "5ms", "--json")
    assert done.code == 0, done.stderr
    answer = done.json
    assert set(answer) == documented("calibrate")
    assert answer["p95"] == {"level": 0.95, "limit": 5.0, "reached": pytest.approx(5.0)}
    assert answer["point"]["p95"] == pytest.approx(5.0)
    assert (answer["cost"], answer["recommended"]) == ("latency", False)
    forecast = [row["p95"] for row in answer["table"]]
    assert forecast == sorted(forecast)
    assert (forecast[0], forecast[-1]) == (pytest.approx(1.95), pytest.approx(6.85))
    text = edgeexit(*CALIBRATE, "--p95", "5ms").stdout
    assert "95 % of calls\n" in text
    assert "\n95 % of single calls are forecast to take 5 ms at most on this machine; " in text
    assert "asked for: 5 ms" in text
    inspected = edgeexit("inspect", "model.eex", "--json").json["calibration"]
    assert inspected["p95"] == answer["p95"]
    assert ", for 95 % of calls within 5 ms, on " in edgeexit("inspect", "model.eex").stdout
    run = edgeexit("run", "model.eex", "--input", "data.npz", "--json").json
    assert run["budget"] == inspected["budget"]
    assert run["budget"].endswith(" ms")


def test_without_a_limit_nothing_is_timed(edgeexit, work):
    answer = edgeexit(*CALIBRATE, "--budget", "0.7", "--json").json
    assert answer["p95"] is answer["point"]["p95"] is None
    assert not list((work / "cache").rglob("call-times.json"))
    assert "of calls" not in edgeexit(*CALIBRATE, "--budget", "0.7").stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--p95", "1.9ms"), BUDGET, ("95 % take up to 1.95 ms", "give --p95 1.952ms or more")),
        (("--p95", "12"), BUDGET, ("'12' is no limit", "--p95 12ms")),
        (("--p95", "soon"), BUDGET, ("'soon' is not a budget",)),
        (("--p95", "5ms", "--budget", "0.5"), INPUT, ("--budget would choose another",)),
        (("--p95", "5ms", "--guarantee", "0.95", "--iid"), INPUT, ("--guarantee would",)),
        (("--p95", "5ms", "--max-drop", "1"), INPUT, ("--max-drop would",)),
        (("--p95", "5ms", "--sweep"), INPUT, ("--sweep would",)),
    ],
)
def test_what_is_refused(edgeexit, work, kept, words, code, told):
    before = (work / "model.eex" / "exits.json").read_bytes()
    edgeexit(*CALIBRATE, *words).failed(code, *told)
    assert (work / "model.eex" / "exits.json").read_bytes() == before

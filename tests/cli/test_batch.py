"""``edgeexit calibrate --batch`` and ``edgeexit bench``: what they say of batches, and refuse."""

from __future__ import annotations

import re

import pytest

from edgeexit.bundle.bundle import Bundle
from tests.cli.test_verbs import documented
from tests.runtime.batch_times import keep_batches, made_batch

INPUT, BUDGET = 3, 7
CALIBRATE = ("calibrate", "model.eex", "--data", "data.npz")
TIMES = [
    made_batch(size, (1 + 0.25 * size, 1 + 0.5 * size, 2 + 0.5 * size), static=3 + size)
    for size in (1, 2, 4, 6, 8)
]
"""Leaving at exits 1, 2 and 3 takes a sample in batches of 8 0.375, 1 and 1.75 ms."""


@pytest.fixture
def kept(work, monkeypatch):
    """Those times in the cache that the commands use."""
    monkeypatch.setenv("EDGEEXIT_CACHE", str(work / "cache"))
    keep_batches(Bundle.open(work / "model.eex"), TIMES)


@pytest.mark.parametrize(("words", "mode"), [((), "compacted"), (("--mode", "whole"), "whole")])
def test_a_budget_in_batches(edgeexit, work, kept, words, mode):
    done = edgeexit(*CALIBRATE, "--budget", "1ms", "--batch", "8", *words, "--json")
    assert done.code == 0, done.stderr
    answer = done.json
    assert set(answer) == documented("calibrate")
    assert (answer["cost"], answer["batch"]) == ("latency", {"mode": mode, "size": 8})
    assert answer["point"]["cost"] == pytest.approx(1.0)
    assert answer["point"]["relative"] == pytest.approx(8 / 11)
    assert [row["budget"] for row in answer["table"]][:: len(answer["table"]) - 1] == [
        pytest.approx(0.375), pytest.approx(1.75),
    ]  # fmt: skip
    inspected = edgeexit("inspect", "model.eex", "--json").json["calibration"]
    assert inspected["budget"] == f"1 ms ({mode} batches of 8)"
    assert inspected["batches"] == {"latency": {"mode": mode, "size": 8}, "flops": None}
    assert inspected["bounds"]["latency"] == [pytest.approx(0.375), pytest.approx(1.75)]
    text = edgeexit("inspect", "model.eex").stdout
    assert f"latency 0.375 to 1.75 ms ({mode} batches of 8)" in text
    run = edgeexit("run", "model.eex", "--input", "data.npz", "--json").json
    assert run["budget"] == inspected["budget"]


def test_text_says_in_which_batches(edgeexit, work, kept):
    text = edgeexit(*CALIBRATE, "--budget", "1ms", "--batch", "8", "--mode", "whole").stdout
    assert "\nat budget 1 ms (whole batches of 8): accuracy " in text
    assert "\nms are those of a sample in whole batches of 8: all wait for the last" in text
    text = edgeexit(*CALIBRATE, "--cost", "latency", "--mode", "single").stdout
    assert "batches" not in text


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--batch", "8"), INPUT, ("goes with a budget in milliseconds", "or --cost latency")),
        (("--batch", "8", "--budget", "0.5"), INPUT, ("one in FLOPs holds in every mode",)),
        (("--cost", "latency", "--mode", "whole"), INPUT, ("not how large", "--batch 32")),
        (("--cost", "latency", "--batch", "7"), INPUT, ("are padded", "2, 4, 6, 8, 12")),
        (("--batch", "8", "--sweep"), INPUT, ("--sweep would add them up",)),
        (("--batch", "8", "--p95", "5ms"), INPUT, ("--p95 would add them up",)),
        (
            ("--batch", "8", "--budget", "2ms"),
            BUDGET,
            ("first exit costs 0.375 ms (compacted batches of 8)", "last 1.75 ms (compacted"),
        ),
    ],
)
def test_what_is_refused(edgeexit, work, kept, words, code, told):
    before = (work / "model.eex" / "exits.json").read_bytes()
    edgeexit(*CALIBRATE, *words).failed(code, *told)
    assert (work / "model.eex" / "exits.json").read_bytes() == before


@pytest.mark.parametrize("words", [("--batch", "0"), ("--batch", "x"), ("--mode", "padded")])
def test_what_is_no_batch(edgeexit, work, words):
    done = edgeexit(*CALIBRATE, "--cost", "latency", *words)
    assert done.code == 2
    assert "Traceback" not in done.stderr


def test_bench_tells_the_modes_apart(edgeexit, work):
    words = ("bench", "model.eex", "--data", "data.npz", "--rounds", "5", "--batch", "8")
    done = edgeexit(*words)
    assert done.code == 0, done.stderr
    for mode in ("single", "compacted", "whole"):
        assert re.search(rf"^8 +{mode} +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+-[\d.]+$", done.stdout, re.M)
    modes = edgeexit(*words, "--json").json["modes"]
    assert [(mode["mode"], mode["batch"]) for mode in modes] == [
        ("single", 8), ("compacted", 8), ("whole", 8),
    ]  # fmt: skip
    assert all(mode["ratio"]["pairs"] == 5 for mode in modes)

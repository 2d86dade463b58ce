"""Each verb on a small model: its numbers, and that docs/commands.md names every key it answers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs" / "commands.md"


def documented(verb: str) -> set[str]:
    """Return the keys that docs/commands.md names for a verb."""
    section = re.search(rf"^## {verb}$(.*?)(?=^## |\Z)", DOCS.read_text(), re.M | re.S)
    assert section, verb
    rows = re.findall(r"^\| (`.*?`) \|", section[1], re.M)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def run_json(edgeexit, verb, *words):
    done = edgeexit(verb, *words, "--json")
    assert done.code == 0, done.stderr
    assert set(done.json) == documented(verb)
    return done.json


def test_compile(edgeexit, work):
    answer = run_json(edgeexit, "compile", "model.onnx", "-o", "b.eex", "--classes", "a,b,c,d")
    assert [stage["exit"] for stage in answer["stages"]] == ["exit_1", "exit_2", "exit_3"]
    # Two a multiply-add: 8 x 16 and 16 x 4 in the first stage, 16 ReLUs counted once each at most.
    assert answer["stages"][0]["flops"] == pytest.approx(2 * (8 * 16 + 16 * 4), abs=16)
    assert answer["stages"][0]["params"] == 8 * 16 + 16 * 4
    assert answer["classes"] == ["a", "b", "c", "d"]
    assert answer["parity"]["engines"]


def test_inspect(edgeexit, work):
    answer = run_json(edgeexit, "inspect", "model.eex")
    assert answer["calibration"]["policy"] == "gain-soft"
    assert answer["stages"][-1]["gate"] is None
    assert answer["stages"][-1]["boundary"] == []
    text = edgeexit("inspect", "model.eex").stdout
    assert "statistics" in text
    assert answer["digest"] in text


def test_calibrate(edgeexit, work):
    answer = run_json(edgeexit, "calibrate", "model.eex", "--data", "data.npz", "--budget", "0.8")
    point = answer["point"]
    assert point["cost"] == pytest.approx(0.8, abs=0.01)
    assert sum(point["shares"]) == pytest.approx(1)
    assert not answer["recommended"]
    text = edgeexit("calibrate", "model.eex", "--data", "data.npz", "--budget", "0.8").stdout
    assert f"at budget 0.8: accuracy {100 * point['quality']:.1f} %" in text


def test_run_at_the_calibrated_budget_and_at_another(edgeexit, work):
    answer = run_json(edgeexit, "run", "model.eex", "--input", "data.npz")
    assert answer["budget"] == "0.7"
    assert answer["cost"] == pytest.approx(0.7, abs=0.02)
    assert len(answer["samples"]) == 800
    costs = [sample["cost"] for sample in answer["samples"]]
    assert np.mean(costs) == pytest.approx(answer["cost"])
    dearer = run_json(edgeexit, "run", "model.eex", "--input", "data.npz", "--budget", "1.1")
    assert dearer["cost"] == pytest.approx(1.1, abs=0.02)


def test_run_one_array(edgeexit, work):
    np.save(work / "one.npy", np.ones((1, 8), np.float32))
    (sample,) = run_json(edgeexit, "run", "model.eex", "--input", "one.npy")["samples"]
    assert sample["exit"] in (1, 2, 3)
    assert (sample["score"] is None) == (sample["exit"] == 3)


def test_verify(edgeexit, work):
    answer = run_json(edgeexit, "verify", "model.eex", "--target", "cpu", "--data", "data.npz")
    (engine,) = answer["parity"]["engines"]
    assert all(found["identical"] for found in engine["batch_1"])
    assert answer["parity"]["samples"] == 512


def test_profile(edgeexit, work):
    words = ("model.eex", "--seconds", "0.2", "--batches", "4, 1")
    answer = run_json(edgeexit, "profile", *words)
    assert [batch["batch"] for batch in answer["batches"]] == [1, 4]
    assert len(answer["batches"][0]["stages"]) == 3
    per_exit = answer["costs"]["per_exit"]
    assert per_exit == sorted(per_exit)
    assert answer["energy"] is None
    assert answer["before"]["load"] >= 0


def test_bench(edgeexit, work):
    words = ("model.eex", "--data", "data.npz", "--rounds", "5", "--batch", "1", "--batch", "8")
    answer = run_json(edgeexit, "bench", *words, "--baseline", "model.onnx")
    assert answer["cost"] == pytest.approx(0.7, abs=0.02)
    names = {speed["name"] for speed in answer["speed"]}
    assert names == {"edgeexit", "static", "static again", "model"}
    accuracy = {quality["name"]: quality["accuracy"] for quality in answer["quality"]}
    assert accuracy["static"] > 0.85


def test_targets(edgeexit):
    answer = run_json(edgeexit, "targets")
    assert answer["targets"]["onnxruntime"]["available"]
    assert {"cpu", "x86"} <= {device["name"] for device in answer["devices"]}


def test_doctor(edgeexit):
    answer = run_json(edgeexit, "doctor")
    assert answer["usable"]
    assert answer["settings"] == [row for row in answer["settings"] if row["setting"] == "cache"]

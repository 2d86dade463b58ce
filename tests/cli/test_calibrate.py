"""``edgeexit calibrate --guarantee``: what it certifies, says and refuses."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cli.test_verbs import documented

INPUT, BUDGET = 3, 7
CALIBRATE = ("calibrate", "model.eex", "--data", "data.npz")


def with_groups(work, count):
    with np.load(work / "data.npz") as file:
        arrays = dict(file)
    size = len(arrays["y"])
    np.savez(work / "clips.npz", **arrays, group=[f"clip {i % count}" for i in range(size)])
    np.savez(work / "more.npz", x=arrays["x"], group=[f"site {i % 50}" for i in range(size)])


def test_without_a_guarantee_nothing_is_called_guaranteed(edgeexit, work):
    for words in ((*CALIBRATE, "--budget", "0.8"), CALIBRATE, (*CALIBRATE, "--json")):
        done = edgeexit(*words)
        assert done.code == 0
        assert "guarantee" not in (done.stdout + done.stderr).lower()
    assert edgeexit(*CALIBRATE, "--json").json["certificate"] is None


def test_a_guaranteed_budget(edgeexit, work):
    words = (*CALIBRATE, "--budget", "0.8", "--guarantee", "0.95", "--iid")
    answer = edgeexit(*words, "--json").json
    certificate = answer["certificate"]
    assert (certificate["confidence"], certificate["unit"]) == (0.95, "sample")
    assert certificate["units"] == 560  # 70 % of 800
    assert 0.8 in [entry["budget"] for entry in certificate["budgets"]]
    assert answer["point"]["cost"] < 0.8
    assert "drop" not in certificate["budgets"][0]
    text = edgeexit(*words).stdout
    assert "guaranteed with 95 % confidence" in text
    assert "560 independent samples" in text
    assert "mean cost at most 0.8" in text
    # The runtime keeps to what is certified.
    snapped = edgeexit("run", "model.eex", "--input", "data.npz", "--budget", "0.9", "--json").json
    asked = edgeexit("run", "model.eex", "--input", "data.npz", "--budget", "0.8", "--json").json
    assert snapped["cost"] == asked["cost"] < 0.8


def test_a_grid_and_a_drop(edgeexit, work):
    words = (*CALIBRATE, "--guarantee", "0.9", "--iid", "--max-drop", "6")
    answer = edgeexit(*words, "--json").json
    entries = answer["certificate"]["budgets"]
    assert answer["recommended"]
    assert answer["certificate"]["max_drop"] == 6
    keeping = [entry["budget"] for entry in entries if entry["drop"]]
    assert answer["point"]["budget"] == keeping[0]
    assert [row["budget"] for row in answer["table"]] == [entry["budget"] for entry in entries]
    assert "at most 6 points of accuracy lost" in edgeexit(*words).stdout


def test_groups_and_further_data(edgeexit, work):
    with_groups(work, 100)
    words = ("calibrate", "model.eex", "--data", "clips.npz", "--budget", "0.9")
    words = (*words, "--guarantee", "0.95", "--unlabelled", "more.npz")
    certificate = edgeexit(*words, "--json").json["certificate"]
    assert (certificate["unit"], certificate["units"]) == ("group", 70 + 50)
    assert certificate["unlabelled"] == 800
    assert "120 independent groups" in edgeexit(*words).stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--guarantee", "0.95"), INPUT, ("which samples are independent", "--iid", "group")),
        (("--certify", "0.5"), INPUT, ("only with a guarantee", "--guarantee 0.95")),
        (("--guarantee", "95", "--iid"), INPUT, ("a confidence of 95", "0.95")),
        (("--guarantee", "0.95", "--iid", "--budget", "0.05"), BUDGET, ("0.05", "first exit")),
        (("--guarantee", "0.95", "--iid", "--certify", "0.5,8ms"), BUDGET, ("kind",)),
        (("--guarantee", "0.95", "--iid", "--max-drop", "-3"), INPUT, ("-3", "points")),
        (("--guarantee", "0.95", "--iid", "--certify", "soon"), BUDGET, ("'soon'", "8ms or 40mJ")),
    ],
)
def test_what_is_refused(edgeexit, work, words, code, told):
    before = (work / "model.eex" / "exits.json").read_bytes()
    edgeexit(*CALIBRATE, *words).failed(code, *told)
    assert (work / "model.eex" / "exits.json").read_bytes() == before


def test_groups_and_iid_contradict(edgeexit, work):
    with_groups(work, 100)
    words = ("calibrate", "model.eex", "--data", "clips.npz", "--guarantee", "0.95", "--iid")
    edgeexit(*words).failed(INPUT, "the data have groups", "leave --iid out")


def test_too_few_groups_say_how_many_would_do(edgeexit, work):
    with_groups(work, 10)
    words = ("calibrate", "model.eex", "--data", "clips.npz", "--guarantee", "0.95")
    edgeexit(*words, "--budget", "0.7").failed(INPUT, "7 groups are too few", "would do")


def test_labels_may_be_left_out(edgeexit, work):
    answer = edgeexit(*CALIBRATE, "--budget", "0.8", "--label-free", "--json").json
    assert answer["quality_kind"] == "agreement"
    assert answer["per_exit_quality"][-1] == 1.0


def test_a_policy_with_few_settings_says_what_it_takes(edgeexit, work):
    words = ("compile", "model.onnx", "-o", "p.eex", "--gate", "patience", "--precision", "f32")
    assert edgeexit(*words).code == 0
    words = ("calibrate", "p.eex", "--data", "data.npz", "--policy", "patience", "--budget", "0.9")
    done = edgeexit(*words)
    assert (
        "patience has 3 settings here; the nearest that costs no more than 0.9 costs 0."
        in done.stdout
    )


def test_sweep(edgeexit, work):
    before = (work / "model.eex" / "exits.json").read_bytes()
    answer = edgeexit(*CALIBRATE, "--sweep", "--json").json
    assert set(answer) == documented("calibrate --sweep")
    assert len(answer["policies"]) == 11
    assert len(answer["oracle"]) == len(answer["budgets"]) == len(answer["policies"]["opt"])
    assert answer["verdict"]["choice"] in ("exits", "cut", "static")
    text = edgeexit(*CALIBRATE, "--sweep").stdout
    assert "verdict: ship " in text
    assert "oracle" in text
    assert "points above gain-soft" in text
    assert (work / "model.eex" / "exits.json").read_bytes() == before

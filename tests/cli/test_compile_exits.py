"""``compile --exits`` and ``--truncate`` on the command line, and every verb on one exit alone."""

from __future__ import annotations

import pytest

from tests.calibrate.useless import NAME, write_with_useless_exit


@pytest.fixture
def five(tmp_path):
    """A model of five exits, the third of which is useless, and data for it."""
    import numpy as np

    from tests.calibrate.synthetic import Clusters

    points, labels = Clusters().draw(600, 5)
    np.savez(tmp_path / "five.npz", x=points, y=labels)
    return write_with_useless_exit(tmp_path / "five.onnx")


def test_a_search_is_shown_and_kept_in_the_bundle(edgeexit, five):
    done = edgeexit("compile", "five.onnx", "--exits", "auto", "--data", "five.npz")
    assert done.code == 0, done.stderr
    assert "searched all 15 subsets, so none is better on these samples (gap 0)" in done.stdout
    assert "at budgets 0.3, 0.5, 0.7, on average" in done.stdout
    assert "gain-soft on 600 samples, each judged unseen" in done.stdout
    assert "by FLOPs alone: neither time nor energy was looked at" in done.stdout
    assert "head and gate / static FLOPs" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("3 "))
    assert row.split()[1:3] == [NAME, "dropped"]
    shown = edgeexit("inspect", "five.eex")
    assert row in shown.stdout
    selection = edgeexit("inspect", "five.eex", "--json").json["selection"]
    assert selection["how"] == "searched"
    assert [entry["kept"] for entry in selection["exits"]][2::2] == [False, True]
    assert selection["search"]["subsets"] == len(selection["search"]["tried"]) == 15


@pytest.mark.slow
def test_a_budget_for_all_verbs_counts_only_where_exits_are_searched(edgeexit, five, tmp_path):
    (tmp_path / "edgeexit.toml").write_text("budget = 0.6\n")
    plain = edgeexit("compile", "five.onnx", "--exits", "1,2,5", "--json")
    assert plain.code == 0, plain.stderr
    assert plain.json["selection"]["search"] is None
    assert [stage["exit"] for stage in plain.json["stages"]] == ["exit_1", "exit_2", "exit_4"]
    searched = edgeexit("compile", "five.onnx", "--exits", "auto", "--data", "five.npz", "--json")
    assert searched.json["selection"]["search"]["budgets"] == [0.6]
    refused = edgeexit("compile", "five.onnx", "--budget", "0.6")
    assert refused.code == 3
    assert "hint: add --exits auto" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--exits", "auto"], 3, "which exits to keep is found on data, and there are none"),
        (["--exits", "1,9"], 3, "there is no exit 9: the model has 3 exits"),
        (["--exits", "2,2"], 3, "exit 2 is given twice in 2,2"),
        (["--exits", "3"], 3, "cut the model there with --truncate 3"),
        (["--truncate", "0"], 3, "there is no exit 0"),
        (["--truncate", "1", "--exits", "1,2"], 3, "a model cut at one exit keeps no other"),
        (["--exits", "auto", "--data", "data.npz", "--budget", "0.01"], 7, "budget 0.01 is outs"),
    ],
)
def test_what_is_refused(edgeexit, work, words, code, message):
    done = edgeexit("compile", "model.onnx", "-o", "new.eex", *words)
    assert done.code == code, done.stderr
    assert message in done.stderr
    assert not (work / "new.eex").exists()


def test_every_verb_on_a_model_cut_at_one_exit(edgeexit, work):
    done = edgeexit("compile", "model.onnx", "-o", "cut.eex", "--truncate", "2")
    assert done.code == 0, done.stderr
    assert "cut at exit 2 of 3: one static model, without gates" in done.stdout
    shown = edgeexit("inspect", "cut.eex").stdout
    assert "1 exit, " in shown
    assert "calibration: none; one exit has nothing to calibrate" in shown
    run = edgeexit("run", "cut.eex", "--input", "data.npz", "--json")
    assert run.json["cost"] == 1.0
    assert run.json["exit_shares"] == [1.0]
    assert edgeexit("verify", "cut.eex").code == 0
    words = ("--data", "data.npz", "--rounds", "5", "--json")
    bench = edgeexit("bench", "cut.eex", *words)
    assert bench.code == 0, bench.stderr
    for verb in ("calibrate", "report"):
        refused = edgeexit(verb, "cut.eex", "--data", "data.npz")
        assert refused.code == 3
        assert "was cut at exit_2, its only exit" in refused.stderr

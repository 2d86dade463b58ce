"""Flag before environment before edgeexit.toml before default."""

from __future__ import annotations

import json

import pytest

TOML = """
model = "model.onnx"
data = "data.npz"
bundle = "named.eex"
target = "cpu"

[compile]
precision = "f32"
exits = ["exit_1", "exit_3"]

[calibrate]
budget = 0.9
max-drop = 2
"""


def test_compile_and_calibrate_as_written_in_a_folder_with_settings(edgeexit, work):
    (work / "edgeexit.toml").write_text(TOML)
    compiled = edgeexit("compile", "--target", "x86", "--json").json
    assert compiled["bundle"].endswith("named.eex")
    assert (compiled["device"], [s["exit"] for s in compiled["stages"]]) == (
        "x86",
        ["exit_1", "exit_3"],
    )
    assert edgeexit("calibrate", "--json").json["point"]["budget"] == 0.9
    from_environment = edgeexit("calibrate", "--json", EDGEEXIT_BUDGET="0.8").json
    assert from_environment["point"]["budget"] == 0.8
    from_flag = edgeexit("calibrate", "--budget", "0.7", "--json", EDGEEXIT_BUDGET="0.8").json
    assert from_flag["point"]["budget"] == 0.7


def test_doctor_says_where_each_setting_comes_from(edgeexit, work):
    (work / "edgeexit.toml").write_text(TOML)
    done = edgeexit("doctor", "--json", EDGEEXIT_BUDGET="0.8")
    rows = {(row["verb"], row["setting"]): row for row in done.json["settings"]}
    assert rows["calibrate", "budget"]["source"] == "EDGEEXIT_BUDGET"
    assert rows["calibrate", "max_drop"] == {
        "verb": "calibrate",
        "setting": "max_drop",
        "value": 2,
        "source": "edgeexit.toml",
    }
    assert rows["bench", "data"]["value"] == "data.npz"
    assert ("inspect", "data") not in rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model =", ("edgeexit.toml", "TOML")),
        ("modle = 'm.onnx'", ("'modle'", "did you mean 'model'?")),
        ("[compil]\nexits = 'a'", ("'compil'", "did you mean 'compile'?")),
        ("[inspect]\nbudgte = 1", ("'inspect.budgte'",)),
    ],
)
def test_a_settings_file_with_a_mistake(edgeexit, work, text, words):
    (work / "edgeexit.toml").write_text(text)
    edgeexit("inspect", "model.eex").failed(3, *words)


def test_a_missing_setting_may_come_from_the_file(edgeexit):
    edgeexit("compile").failed(2, "MODEL", "edgeexit.toml")


def test_calibrate_without_a_budget_recommends(edgeexit, work):
    answer = edgeexit(
        "calibrate", "model.eex", "--data", "data.npz", "--max-drop", "5", "--json"
    ).json
    assert answer["recommended"]
    assert answer["point"]["drop"] <= 5
    cheaper = [row for row in answer["table"] if row["cost"] < answer["point"]["cost"]]
    assert all(row["drop"] > 5 for row in cheaper)
    stored = json.loads((work / "model.eex" / "exits.json").read_text())
    assert stored

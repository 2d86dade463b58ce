"""Texts from a source to the three sets, and the settings that pick the sets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.dmpo.data.load import load_tune_data
from tests.dmpo.data.loading import refused, rows


def test_a_table_becomes_three_sets(tune_config, write_texts):
    data = load_tune_data(tune_config(write_texts("a.csv", rows()), length=8))
    assert data.classes == ("cold", "mild", "warm")
    assert [len(part) for part in (data.train, data.validation, data.calibration)] == [24, 3, 3]
    assert data.inputs == (
        TensorSpec("input_ids", "int64", ("batch", 8)),
        TensorSpec("attention_mask", "int64", ("batch", 8)),
    )
    for part in (data.train, data.validation, data.calibration):
        # Blue is token 6 and cold is class 0: labels belong to their texts.
        tokens = {0: 6, 1: 5, 2: 4}
        assert part.inputs["input_ids"][:, 1].tolist() == [tokens[y] for y in part.labels]


def test_the_split_and_the_digest_depend_on_the_seed(tune_config, write_texts):
    path = write_texts("a.csv", rows(60))
    one, same, other = (load_tune_data(tune_config(path, seed=seed)) for seed in (1, 1, 2))
    assert one.sha256 == same.sha256 != other.sha256
    assert len(one.sha256) == 64


def test_number_names_are_ordered_as_numbers(tune_config, write_texts):
    path = write_texts("a.jsonl", rows(44, tuple(str(n) for n in range(11))))
    assert load_tune_data(tune_config(path)).classes == tuple(str(n) for n in range(11))


def test_validation_and_calibration_of_their_own(tune_config, write_texts):
    config = tune_config(
        write_texts("a.csv", rows()),
        validation=str(write_texts("b.tsv", rows(6, ("warm", "cold")))),
        calibration=str(write_texts("c.jsonl", rows(9))),
    )
    data = load_tune_data(config)
    assert [len(part) for part in (data.train, data.validation, data.calibration)] == [30, 6, 9]
    assert data.validation.labels.tolist() == [2, 0, 2, 0, 2, 0]


def test_no_validation_and_no_calibration(tune_config, write_texts):
    path = write_texts("a.csv", rows())
    data = load_tune_data(tune_config(path, validation=0.0, calibration=0.0))
    assert [len(part) for part in (data.train, data.validation, data.calibration)] == [30, 0, 0]


def test_a_missing_table(tune_config):
    error = refused(tune_config("nowhere.csv"), "data.train is 'nowhere.csv'", "not exist")
    assert error.code == "tune.data-missing"
    refused(tune_config("a/folder"), "a/folder does not exist")


def test_one_class(tune_config, write_texts):
    path = write_texts("a.csv", rows(9, ("warm",)))
    refused(tune_config(path), "has one class, 'warm'", "at least 2")


def test_a_class_that_only_validation_has(tune_config, write_texts):
    config = tune_config(
        write_texts("a.csv", rows(20, ("warm", "cold"))),
        validation=str(write_texts("b.csv", rows(6))),
    )
    refused(config, "label 'mild' of text 2", "no class of the training data", "cold, warm")


def test_a_share_of_nothing(tune_config, write_texts):
    path = write_texts("a.csv", rows(9))
    refused(tune_config(path, validation=0.01), "data.validation is 0.01 of 9 samples")


def test_validation_on_the_training_data(tune_config, write_texts, tmp_path):
    path = write_texts("a.csv", rows())
    again = str(tmp_path / "." / "x" / ".." / "a.csv")
    (tmp_path / "x").mkdir()
    refused(tune_config(path, validation=again), "data.validation and data.train are both")


@pytest.mark.parametrize("name", ["size", "augment"])
def test_settings_for_images(tune_config, write_texts, name):
    value = (8, 8) if name == "size" else True
    config = tune_config(write_texts("a.csv", rows()), **{name: value})
    refused(config, f"data.{name} is for images", "input_ids, attention_mask")


def test_two_sets_of_one_source(tune_config, write_texts, tmp_path, monkeypatch):
    path, other = (write_texts(name, rows()) for name in ("a.csv", "b.csv"))
    config = tune_config(path, validation=str(other), calibration=str(other))
    refused(config, "data.calibration and data.validation are both")
    text = "def f(): return {'text': ['red', 'blue'] * 10, 'label': [0, 1] * 10}"
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    refused(tune_config("mine:f", validation="mine:f"), "data.validation and data.train")


def test_a_function_of_texts(tune_config, tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text(
        "def good():\n    return {'text': ['red', 'blue'] * 10, 'label': [1, 0] * 10}\n"
        "def short():\n    return {'text': ['red'], 'label': [1, 0]}\n"
        "def blank():\n    return {'text': ['red', ' '], 'label': [1, 0]}\n"
        "def half():\n    return {'text': ['red', '\\ud800'], 'label': [1, 0]}\n"
        "def single():\n    return {'text': 'red', 'label': [1, 0, 1]}\n"
        "def number():\n    return {'text': ['red'], 'label': 5}\n"
        "def ragged():\n    return {'x': [[1, 2], [3]], 'y': [0, 1]}\n"
    )
    monkeypatch.chdir(tmp_path)
    data = load_tune_data(tune_config("ours:good"))
    assert data.classes == ("0", "1")
    assert len(data.train) == 16
    refused(tune_config("ours:short"), "returned 1 texts and 2 labels")
    refused(tune_config("ours:blank"), "text 1 of ours:blank is ' '")
    refused(tune_config("ours:half"), r"text 1 of ours:half is '\ud800'")
    refused(tune_config("ours:single"), "returned str as 'text'; a list was expected")
    refused(tune_config("ours:number"), "returned int as 'label'; a list was expected")
    refused(tune_config("ours:ragged"), "'x' of the data is no array")
    refused(tune_config("ours:nothing"), "ours:nothing failed with AttributeError")


def test_loading_needs_no_torch(tune_config, write_texts):
    path = write_texts("a.csv", rows())
    config = tune_config(path)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from edgeexit.dmpo.config import *\n"
        "from edgeexit.dmpo.data.load import load_tune_data\n"
        f"config = TuneConfig(DataConfig({str(path)!r}), ExitsConfig((1,)), "
        f"BackboneConfig(source={config.backbone.source!r}))\n"
        "print(len(load_tune_data(config).train))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "24\n"

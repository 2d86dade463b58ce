"""``edgeexit tune``: what a user gets wrong first, then a run, its end and its repetition."""

from __future__ import annotations

import dataclasses
import logging
import re
import signal
import warnings
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from edgeexit.cli.main import main
from edgeexit.dmpo.config import TuneConfig
from edgeexit.dmpo.config_file import read_config
from tests.cli.conftest import Done, contents

USAGE, INPUT, MODEL, BUNDLE = 2, 3, 4, 5
DOCS = Path(__file__).parents[2] / "docs" / "commands.md"

CONFIG = """
name = "squares"
[data]
train = "train.npz"
[exits]
after = [1, 2]
predictor = "linear"
[backbone]
family = "small-vit"
settings = { width = 8, depth = 2, heads = 2, patch = 4, image_size = 8, channels = 1 }
[adapter]
kind = "full"
[training]
epochs = 2
batch = 16
device = "cpu"
precision = "f32"
threads = 1
"""


@pytest.fixture
def run(tmp_path):
    """A folder with a config and images whose left or right half is bright."""
    labels = np.arange(120) % 2
    pixels = np.random.default_rng(0).integers(0, 60, (120, 8, 8)).astype(np.uint8)
    pixels[labels == 0, :, :4] += 190
    pixels[labels == 1, :, 4:] += 190
    np.savez(tmp_path / "train.npz", x=pixels, y=labels, classes=np.asarray(["left", "right"]))
    (tmp_path / "run.toml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def here(run, monkeypatch, capfd):
    """Run the command line in this process: a new one would load torch for seconds each time."""
    monkeypatch.chdir(run)
    before = signal.getsignal(signal.SIGTERM)

    def called(*words) -> Done:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
            main(list(words))
        return Done(stop.value.code, *capfd.readouterr())

    yield called
    signal.signal(signal.SIGTERM, before)
    logging.disable(logging.NOTSET)


class TestBadInput:
    @pytest.fixture(autouse=True)
    def _nothing_written(self, run):
        yield
        assert not (run / "out").exists()

    def test_no_output(self, edgeexit):
        edgeexit("tune", "run.toml").failed(USAGE, "--output")

    def test_no_config(self, edgeexit):
        edgeexit("tune", "nowhere.toml", "-o", "out").failed(INPUT, "nowhere.toml cannot be read")

    def test_a_config_with_a_mistake(self, edgeexit, run):
        (run / "run.toml").write_text(CONFIG.replace("epochs", "epocs"))
        done = edgeexit("tune", "run.toml", "-o", "out", "--json")
        done.failed(INPUT, "training.epocs", "did you mean 'epochs'?")
        assert done.json["error"]["code"] == "tune.unknown"

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (("--set", "training.epochs"), ("'training.epochs' is not TABLE.KEY=VALUE",)),
            (("--set", "=5"), ("is not TABLE.KEY=VALUE",)),
            (("--set", "epochs=5"), ("did you mean 'training.epochs'?",)),
            (("--set", "training.lr=fast"), ("training.lr is 'fast'", "a number")),
            (("--epochs", "0"), ("training.epochs is 0", "1 or more")),
            (("--seed", "-1"), ("training.seed is -1",)),
            (("--set", "exits.after=2,1"), ("greater than the one before",)),
        ],
    )
    def test_a_setting_on_the_command_line(self, edgeexit, words, expected):
        edgeexit("tune", "run.toml", "-o", "out", *words).failed(INPUT, *expected)

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("data.train=nowhere.npz", ("nowhere.npz does not exist",)),
            ("data.train=nowhere.csv", ("'nowhere.csv', which does not exist",)),
            ("exits.after=1,3", ("[1, 3]", "blocks 1 to 2")),
            ("backbone.settings.image_size=12", ("data.size = [12, 12]",)),
        ],
    )
    def test_a_setting_that_does_not_fit_the_data_or_the_backbone(self, here, setting, expected):
        here("tune", "run.toml", "-o", "out", "--set", setting).failed(INPUT, *expected)

    def test_an_unknown_family(self, here):
        words = ("--set", "backbone.family=smal-vit")
        here("tune", "run.toml", "-o", "out", *words).failed(MODEL, "smal-vit", "small-vit")

    def test_a_class_without_samples(self, here, run):
        data = dict(np.load(run / "train.npz"))
        data["classes"] = np.asarray(["left", "right", "middle"])
        np.savez(run / "train.npz", **data)
        here("tune", "run.toml", "-o", "out").failed(INPUT, "no sample of class 'middle'")

    def test_without_torch(self, edgeexit, run):
        (run / "torch.py").write_text("raise ModuleNotFoundError('No torch', name='torch')")
        done = edgeexit("tune", "run.toml", "-o", "out", PYTHONPATH=str(run))
        done.failed(MODEL, "tuning needs torch", "pip install 'edgeexit[tune]'")


def test_something_else_in_the_place_of_the_output(here, run):
    (run / "out").mkdir()
    (run / "out" / "mine.txt").write_text("mine")
    here("tune", "run.toml", "-o", "out").failed(BUNDLE, "no tuned folder")
    assert (run / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.slow
def test_tuned_then_finished_then_changed_then_compiled(here, edgeexit, run):
    first = edgeexit("tune", "run.toml", "-o", "out", "--epochs", "3", "--json")
    assert first.code == 0, first.stderr
    answer = first.json
    assert (answer["ran"], answer["name"], answer["classes"]) == (
        True,
        "squares",
        ["left", "right"],
    )
    assert [epoch["epoch"] for epoch in answer["history"]] == [1, 2, 3]
    assert answer["validation"] == answer["history"][answer["best_epoch"] - 1]["accuracy"]
    assert len(answer["validation"]) == 2
    assert sum(answer["parity"]["flips"]) == 0
    assert "epoch 1 of 3" in first.stderr
    before = contents(run / "out")

    again = edgeexit("tune", "run.toml", "-o", "out", "--epochs", "3")
    assert again.code == 0, again.stderr
    assert again.stdout.startswith("finished before (--restart tunes anew): out, dmpo")
    assert len([line for line in again.stdout.splitlines() if line[:2] in ("1 ", "2 ", "3 ")]) == 3
    assert again.stderr == ""

    edgeexit("tune", "run.toml", "-o", "out").failed(INPUT, "training.epochs: 3 -> 2", "--restart")
    assert contents(run / "out") == before

    anew = here("tune", "run.toml", "-o", "out", "--restart", "--json")
    assert [epoch["epoch"] for epoch in anew.json["history"]] == [1, 2]
    assert not (run / "out.tuning").exists()
    compiled = here("compile", "out", "--json")
    assert compiled.json["classes"] == ["left", "right"]
    assert len(compiled.json["stages"]) == 2


class TestDocs:
    text = DOCS.read_text(encoding="utf-8").partition("## The config of `tune`")[2]

    def test_the_example_is_a_config(self, tmp_path):
        (example,) = re.findall(r"```toml\n(.*?)```", self.text.partition("\n# ")[0], re.S)
        (tmp_path / "run.toml").write_text(example)
        assert read_config(tmp_path / "run.toml").exits.after == (2, 4, 6)

    def test_every_setting_stands_in_the_table_of_its_table(self):
        parts = re.split(r"\*\*`\[([\w-]+)\]`\*\*", self.text.partition("\n# ")[0])
        told = {
            table: set(re.findall(r"^\|((?: `[\w-]+`,?)+) \|", rows, re.M))
            for table, rows in zip(parts[1::2], parts[2::2], strict=True)
        }
        for table, kind in get_type_hints(TuneConfig).items():
            if dataclasses.is_dataclass(kind):
                words = {
                    word
                    for cell in told[table.replace("_", "-")]
                    for word in re.findall("`(.+?)`", cell)
                }
                fields = {field.name.replace("_", "-") for field in dataclasses.fields(kind)}
                assert words == fields, table

"""From TOML, ``--set`` and JSON to a config, and what each mistake is told."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from typing import get_type_hints

import pytest

from edgeexit.dmpo.config import DataConfig, ExitsConfig, TuneConfig
from edgeexit.dmpo.config_checks import _RANGES, check_config
from edgeexit.dmpo.config_file import config_as_json, config_from_json, override, read_config
from edgeexit.errors import InputError

LEAST = """
[data]
train = "train.csv"
[exits]
after = [2, 4, 6]
[backbone]
family = "small-vit"
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture
def config(write):
    return read_config(write(LEAST))


def test_what_is_left_out_has_its_default(config):
    assert config == TuneConfig(
        DataConfig("train.csv"),
        ExitsConfig((2, 4, 6)),
        backbone=dataclasses.replace(config.backbone, family="small-vit"),
    )
    assert config.training.epochs == 3


def test_every_kind_of_value_is_read(write):
    config = read_config(
        write("""
        name = "news"
        [data]
        train = "a.tsv"
        validation = "b.tsv"
        calibration = 0
        size = [28, 14]
        mean = [0, 0.5]
        std = [1, 0.5]
        augment = true
        [exits]
        after = [1, 3]
        predictor = ["local", "linear"]
        norm = "none"
        [backbone]
        family = "vit"
        settings = { hidden_size = 32, hidden_act = "gelu", sizes = [1, 2] }
        [second-order]
        heads = 3
        [adapter]
        targets = ["query", "value"]
        [objective]
        distill-weight = 1
        start = [0.1, 1]
        [training]
        head_lr = 1e-2
        warm-up = 0
        log = ["csv", "tensorboard"]
        """)
    )
    assert (config.name, config.data.size, config.data.mean) == ("news", (28, 14), (0.0, 0.5))
    assert (config.data.validation, config.data.calibration) == ("b.tsv", 0.0)
    assert isinstance(config.data.calibration, float)
    assert config.exits == ExitsConfig((1, 3), ("local", "linear"), norm="none")
    assert config.backbone.settings == {"hidden_size": 32, "hidden_act": "gelu", "sizes": [1, 2]}
    assert (config.second_order.heads, config.adapter.targets) == (3, ("query", "value"))
    assert (config.objective.distill_weight, config.objective.start) == (1.0, (0.1, 1.0))
    assert (config.training.head_lr, config.training.warm_up) == (0.01, 0.0)
    assert config.training.log == ("csv", "tensorboard")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[data]\ntrain = 'x'", ("the table 'exits' is missing",)),
        ("[data]\n[exits]\nafter = [1]", ("the setting 'data.train' is missing",)),
        (LEAST + "[trainign]\nlr = 1", ("'trainign'", "did you mean 'training'?")),
        (LEAST + "[training]\nepoch = 1", ("'training.epoch'", "did you mean 'epochs'?")),
        (LEAST + "[second-order]\nreduc = 1", ("'second-order.reduc'", "did you mean 'reduce'?")),
        ("nam = 'x'" + LEAST, ("'nam'", "did you mean 'name'?")),
        (LEAST + "[training]\nhead-lr = 1\nhead_lr = 1", ("training.head_lr", "twice")),
        ("training = 3" + LEAST, ("training is 3", "a table, written [training]")),
        (LEAST + "[training]\nepochs = 2.5", ("training.epochs is 2.5", "an integer")),
        (LEAST + "[training]\nepochs = true", ("training.epochs is True", "an integer")),
        (LEAST + "[training]\nlr = nan", ("training.lr is nan", "a number")),
        (LEAST + "[training]\nlr = '1e-3'", ("training.lr is '1e-3'", "a number")),
        (LEAST + "[training]\nlog = 'csv'", ("training.log is 'csv'", "a list, each text")),
        (LEAST + "[training]\nlog = ['cvs']", ("'cvs'", "csv or tensorboard")),
        (
            LEAST + "[objective]\nmethod = 'dmop'",
            ("objective.method is 'dmop'", "dmpo, joint, sweet", "did you mean 'dmpo'?"),
        ),
        (LEAST + "[bypass]\nlast = 1", ("bypass.last is 1", "true or false")),
        (LEAST.replace("[2, 4, 6]", "3"), ("exits.after is 3", "a list, each an integer")),
        (LEAST.replace("[2, 4, 6]", "[2, '4']"), ("exits.after[1] is '4'", "an integer")),
        (
            LEAST.replace("6]", "6]\npredictor = ['linear', 'secondorder', 'linear']"),
            ("exits.predictor[1] is 'secondorder'", "did you mean 'second-order'?"),
        ),
        (LEAST.replace("csv'", "csv'").replace("train =", "size = [28]\ntrain ="), ("of 2",)),
        (LEAST.replace("train =", "validation = true\ntrain ="), ("text or a number",)),
        (LEAST + "settings = { at = 1979-05-27 }", ("backbone.settings.at",)),
        (LEAST + 'settings = { at = ["a\\u001b"] }', ("backbone.settings.at[0]", "control")),
        ('name = "a\\u0007"' + LEAST, ("name is 'a\\x07'", "without control characters")),
        (LEAST + f"[training]\npatience = {10**20}", ("training.patience", "64 bits")),
        (LEAST + "[training]\nthreads = 5000", ("training.threads is 5000", "at most 4096")),
        (LEAST + f"source = '{'x' * 300}'", ("backbone.source is 'xxx", "300 characters")),
        ("[data", ("run.toml is not valid TOML",)),
    ],
)
def test_a_mistake_is_told_with_its_value_and_what_would_be_right(write, text, words):
    with pytest.raises(InputError) as caught:
        read_config(write(text))
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.epochs", "0", ("training.epochs is 0", "1 or more")),
        ("training.lr", "0", ("training.lr is 0", "above 0")),
        ("training.seed", "-1", ("training.seed is -1", "0 or more and at most 4294967295")),
        ("training.warm-up", "1.5", ("training.warm-up is 1.5", "0 or more and at most 1")),
        ("training.label-smoothing", "1", ("0 or more and below 1",)),
        ("adapter.rank", "0", ("adapter.rank is 0", "1 or more")),
        ("second-order.heads", "1", ("second-order.heads is 1", "2 or more")),
        ("exits.after", "[]", ("exits.after is []", "at least one")),
        ("exits.after", "[2, 2, 4]", ("exits.after is [2, 2, 4]", "greater than the one before")),
        ("exits.after", "[4, 2]", ("greater than the one before",)),
        ("exits.after", "[0, 2]", ("exits.after is [0, 2]", "1 or more")),
        ("exits.predictor", "linear,linear", ("2 predictors for 3 exits",)),
        ("objective.start", "[1, 1]", ("objective.start has 2 weights for 3 exits",)),
        ("objective.end", "[1, 1, 1, 1]", ("objective.end has 4 weights for 3 exits",)),
        ("objective.end", "[1, -1, 1]", ("objective.end is [1.0, -1.0, 1.0]", "0 or more")),
        ("objective.milestones", "[0.5, 0.25]", ("ascending shares",)),
        ("data.validation", "1.0", ("data.validation is 1", "below 1")),
        ("data.validation", "0.95", ("take 1.05 of the training data",)),
        ("data.flip", "true", ("data.augment = true",)),
        ("data.std", "[0.5, 0]", ("data.std is [0.5, 0.0]", "above 0")),
        ("backbone.family", "none", ("backbone.family and backbone.source are both missing",)),
        ("name", "''", ("name is ''",)),
    ],
)
def test_a_value_out_of_range_is_told_the_range(config, key, value, words):
    with pytest.raises(InputError) as caught:
        override(config, {key: value})
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_stopping_early_needs_validation_data(config):
    with pytest.raises(InputError, match="no validation data"):
        override(config, {"training.patience": "2", "data.validation": "0"})


def test_every_number_has_a_range_and_every_range_a_setting(config):
    numbers = {
        f"{table}.{name}"
        for table, kind in get_type_hints(TuneConfig).items()
        if dataclasses.is_dataclass(kind)
        for name, hint in get_type_hints(kind).items()
        if re.search(r"\b(int|float)\b", str(hint))
    }
    assert numbers - set(_RANGES) == {"data.mean"}
    assert set(_RANGES) <= numbers
    check_config(config)


class TestPaths:
    def test_a_path_beside_the_file_counts_from_there(self, write, tmp_path):
        (tmp_path / "train.csv").touch()
        (tmp_path / "model").mkdir()
        config = read_config(write(LEAST.replace("[backbone]", "[backbone]\nsource = 'model'")))
        assert config.data.train == str(tmp_path / "train.csv")
        assert config.backbone.source == str(tmp_path / "model")

    def test_any_other_stays_as_it_is(self, write, tmp_path):
        text = LEAST.replace("train.csv", "package.module:function") + "source = 'hub/name'"
        config = read_config(write(text))
        assert (config.data.train, config.backbone.source) == (
            "package.module:function",
            "hub/name",
        )

    def test_a_name_that_no_file_system_takes_is_no_traceback(self, write):
        with pytest.raises(InputError, match="5000 characters is too long here") as caught:
            read_config(write(LEAST.replace("train.csv", "x" * 5000)))
        assert caught.value.code == "tune.path"

    @pytest.mark.parametrize("name", ["nowhere.toml", "."])
    def test_a_file_that_cannot_be_read(self, tmp_path, name):
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_config(tmp_path / name)
        assert caught.value.code == "tune.config-missing"

    def test_a_data_set_in_place_of_the_config(self, tmp_path):
        (tmp_path / "big").write_bytes(b"#" * ((1 << 20) + 1))
        with pytest.raises(InputError, match="larger than 1048576 bytes"):
            read_config(tmp_path / "big")
        (tmp_path / "binary").write_bytes(b"\xff\x00")
        with pytest.raises(InputError, match="not valid TOML"):
            read_config(tmp_path / "binary")


class TestOverride:
    @pytest.mark.parametrize(
        ("key", "text", "value"),
        [
            ("training.epochs", "5", 5),
            ("training.lr", "5e-4", 5e-4),
            ("training.lr", "1", 1.0),
            ("training.log", "csv", ("csv",)),
            ("training.log", "csv, tensorboard", ("csv", "tensorboard")),
            ("training.head-lr", "none", None),
            ("exits.after", "1,3,5", (1, 3, 5)),
            ("exits.after", "[1, 3, 5]", (1, 3, 5)),
            ("exits.predictor", "linear", "linear"),
            ("exits.predictor", "local,global,linear", ("local", "global", "linear")),
            ("second-order.size", "24", 24),
            ("second_order.size", "24", 24),
            ("data.validation", "0.2", 0.2),
            ("data.validation", "held-out.csv", "held-out.csv"),
            ("data.size", "32,32", (32, 32)),
            ("objective.cross-exit", "false", False),
            ("backbone.family", '"vit"', "vit"),
            ("name", "5", "5"),
        ],
    )
    def test_a_value_is_read_as_its_setting_needs_it(self, config, key, text, value):
        changed = override(config, {key: text})
        table, _, name = key.replace("-", "_").partition(".")
        found = getattr(changed, table)
        found = getattr(found, name) if name else found
        assert found == value
        assert type(found) is type(value)
        before = dataclasses.replace(changed, **{table: getattr(config, table)})
        assert before == config

    def test_a_setting_of_a_free_table_is_added(self, config):
        changed = override(config, {"backbone.settings.hidden-size": "64"})
        changed = override(changed, {"backbone.settings.act": "gelu"})
        assert changed.backbone.settings == {"hidden-size": 64, "act": "gelu"}
        assert config.backbone.settings == {}

    @pytest.mark.parametrize(
        ("key", "text", "words"),
        [
            ("epochs", "5", ("'epochs'", "did you mean 'training.epochs'?")),
            ("traning.epochs", "5", ("'traning.epochs'", "did you mean 'training.epochs'?")),
            ("training.epoch", "5", ("'training.epoch'", "did you mean 'epochs'?")),
            ("training", "5", ("'training'",)),
            ("name.first", "5", ("'name.first'",)),
            ("training.lr.x", "5", ("'training.lr.x'",)),
            ("training.epochs", "many", ("training.epochs is 'many'", "an integer")),
            ("training.epochs", "5\nlr = 3", ("an integer",)),
            ("exits.norm", "layer", ("exits.norm is 'layer'", "trained, frozen, none")),
        ],
    )
    def test_a_mistake_names_the_setting(self, config, key, text, words):
        with pytest.raises(InputError) as caught:
            override(config, {key: text})
        for word in words:
            assert word in str(caught.value), str(caught.value)


def test_json_gives_the_same_config_back(config):
    changed = override(
        config,
        {"exits.predictor": "local,global,linear", "data.size": "8,8", "backbone.settings.d": "3"},
    )
    text = json.dumps(config_as_json(changed), allow_nan=False)
    assert config_from_json(json.loads(text)) == changed


def test_json_that_was_tampered_with_is_refused(config):
    values = config_as_json(config)
    values["training"]["epochs"] = None
    with pytest.raises(InputError, match=r"training\.epochs is None; it must be an integer"):
        config_from_json(values)


def test_reading_a_config_loads_no_torch(write):
    code = (
        "import sys; from edgeexit.dmpo.config_file import read_config; "
        f"read_config({str(write(LEAST))!r}); "
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

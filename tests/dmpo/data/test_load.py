"""From a source to the three sets, and what data that cannot be learned from is told."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from edgeexit.bundle.specs import TensorSpec
from edgeexit.dmpo.data.check import fit_inputs
from edgeexit.dmpo.data.load import load_tune_data
from edgeexit.dmpo.families.base import InputShape
from edgeexit.errors import InputError

COLOURS = {"warm": "red", "cold": "blue", "mild": "green"}


def rows(count=30, labels=tuple(COLOURS)):
    chosen = [labels[number % len(labels)] for number in range(count)]
    return [(label, f"{COLOURS.get(label, 'and')} and {n}") for n, label in enumerate(chosen)]


def refused(config, *words):
    with pytest.raises(InputError) as caught:
        load_tune_data(config)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return caught.value


class TestTexts:
    def test_a_table_becomes_three_sets(self, tune_config, write_texts):
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

    def test_the_split_and_the_digest_depend_on_the_seed(self, tune_config, write_texts):
        path = write_texts("a.csv", rows(60))
        one, same, other = (load_tune_data(tune_config(path, seed=seed)) for seed in (1, 1, 2))
        assert one.sha256 == same.sha256 != other.sha256
        assert len(one.sha256) == 64

    def test_number_names_are_ordered_as_numbers(self, tune_config, write_texts):
        path = write_texts("a.jsonl", rows(44, tuple(str(n) for n in range(11))))
        assert load_tune_data(tune_config(path)).classes == tuple(str(n) for n in range(11))

    def test_validation_and_calibration_of_their_own(self, tune_config, write_texts):
        config = tune_config(
            write_texts("a.csv", rows()),
            validation=str(write_texts("b.tsv", rows(6, ("warm", "cold")))),
            calibration=str(write_texts("c.jsonl", rows(9))),
        )
        data = load_tune_data(config)
        assert [len(part) for part in (data.train, data.validation, data.calibration)] == [30, 6, 9]
        assert data.validation.labels.tolist() == [2, 0, 2, 0, 2, 0]

    def test_no_validation_and_no_calibration(self, tune_config, write_texts):
        path = write_texts("a.csv", rows())
        data = load_tune_data(tune_config(path, validation=0.0, calibration=0.0))
        assert [len(part) for part in (data.train, data.validation, data.calibration)] == [30, 0, 0]

    def test_a_missing_table(self, tune_config):
        error = refused(tune_config("nowhere.csv"), "data.train is 'nowhere.csv'", "not exist")
        assert error.code == "tune.data-missing"
        refused(tune_config("a/folder"), "a/folder does not exist")

    def test_one_class(self, tune_config, write_texts):
        path = write_texts("a.csv", rows(9, ("warm",)))
        refused(tune_config(path), "has one class, 'warm'", "at least 2")

    def test_a_class_that_only_validation_has(self, tune_config, write_texts):
        config = tune_config(
            write_texts("a.csv", rows(20, ("warm", "cold"))),
            validation=str(write_texts("b.csv", rows(6))),
        )
        refused(config, "label 'mild' of text 2", "no class of the training data", "cold, warm")

    def test_a_share_of_nothing(self, tune_config, write_texts):
        path = write_texts("a.csv", rows(9))
        refused(tune_config(path, validation=0.01), "data.validation is 0.01 of 9 samples")

    def test_validation_on_the_training_data(self, tune_config, write_texts, tmp_path):
        path = write_texts("a.csv", rows())
        again = str(tmp_path / "." / "x" / ".." / "a.csv")
        (tmp_path / "x").mkdir()
        refused(tune_config(path, validation=again), "data.validation and data.train are both")

    @pytest.mark.parametrize("name", ["size", "augment"])
    def test_settings_for_images(self, tune_config, write_texts, name):
        value = (8, 8) if name == "size" else True
        config = tune_config(write_texts("a.csv", rows()), **{name: value})
        refused(config, f"data.{name} is for images", "input_ids, attention_mask")

    @pytest.mark.parametrize("name", ["mean", "std"])
    def test_the_scaling_of_pixels_meets_pixels(self, tune_config, write_npz, name):
        path = write_npz(x=np.zeros((20, 1, 4, 4), np.float32), y=np.arange(20) % 2)
        refused(tune_config(path, **{name: (0.5,)}), f"data.{name} is for images as uint8")

    @pytest.mark.parametrize("name", [" ", "a\x1b[31m", "\ud800"])
    def test_a_class_that_no_file_could_name(self, tune_config, write_npz, name):
        given = {"x": np.zeros((20, 3), np.float32), "y": np.arange(20) % 2}
        path = write_npz(**given, classes=np.asarray(["a", name]))
        refused(tune_config(path), "the name of class 1", "control characters")

    def test_two_sets_of_one_source(self, tune_config, write_texts, tmp_path, monkeypatch):
        path, other = (write_texts(name, rows()) for name in ("a.csv", "b.csv"))
        config = tune_config(path, validation=str(other), calibration=str(other))
        refused(config, "data.calibration and data.validation are both")
        text = "def f(): return {'text': ['red', 'blue'] * 10, 'label': [0, 1] * 10}"
        (tmp_path / "mine.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        refused(tune_config("mine:f", validation="mine:f"), "data.validation and data.train")

    def test_a_function_of_texts(self, tune_config, tmp_path, monkeypatch):
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


class TestImages:
    labels = np.arange(20) % 2

    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            ((20, 6, 5), (1, 6, 5)),
            ((20, 1, 6, 5), (1, 6, 5)),
            ((20, 3, 6, 5), (3, 6, 5)),
            ((20, 6, 5, 3), (3, 6, 5)),
            ((20, 6, 5, 1), (1, 6, 5)),
        ],
    )
    def test_every_layout_becomes_channels_first(self, tune_config, write_npz, shape, expected):
        pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        config = tune_config(write_npz(x=pixels, y=self.labels), validation=0.0, calibration=0.0)
        data = load_tune_data(config)
        assert data.inputs == (TensorSpec("image", "uint8", ("batch", *expected)),)
        images = data.train.inputs["image"]
        if shape == (20, 6, 5, 3):
            pixels = pixels.transpose(0, 3, 1, 2)
        assert np.array_equal(images, pixels.reshape(20, *expected))
        assert images.flags.c_contiguous

    def test_images_are_resized(self, tune_config, write_npz):
        pixels = np.zeros((20, 3, 8, 8), dtype=np.uint8)
        pixels[:, 1, :, 4:] = 200
        config = tune_config(write_npz(x=pixels, y=self.labels), size=(4, 2))
        images = load_tune_data(config).train.inputs["image"]
        assert images.shape == (16, 3, 4, 2)
        assert images[0, 1, :, 0].max() < 60
        assert images[0, 1, :, 1].min() > 140
        assert images[:, [0, 2]].max() == 0

    def test_class_names_of_the_file(self, tune_config, write_npz):
        pixels = np.zeros((20, 4, 4), dtype=np.uint8)
        path = write_npz(x=pixels, y=self.labels, classes=np.asarray(["shirt", "boot"]))
        assert load_tune_data(tune_config(path)).classes == ("shirt", "boot")

    def test_a_folder_of_class_folders_of_any_size(self, tune_config, tmp_path):
        for name, value in (("dark", 10), ("light", 240)):
            (tmp_path / "pictures" / name).mkdir(parents=True)
            for number in range(10):
                image = Image.new("L", (6 + number, 9), value)
                image.save(tmp_path / "pictures" / name / f"{number}.png")
        data = load_tune_data(tune_config(tmp_path / "pictures", size=(4, 5)))
        assert data.classes == ("dark", "light")
        assert data.train.inputs["image"].shape == (16, 3, 4, 5)
        assert data.train.inputs["image"][:, 0, 0, 0].tolist() == [
            (10, 240)[label] for label in data.train.labels
        ]
        refused(tune_config(tmp_path / "pictures"), "9x6 was expected")

    def test_channels_that_no_image_has(self, tune_config, write_npz):
        path = write_npz(x=np.zeros((20, 5, 6, 7), dtype=np.uint8), y=self.labels)
        refused(tune_config(path), "(20, 5, 6, 7)", "1, 3 or 4")


class TestArrays:
    def test_ready_inputs_keep_their_names(self, tune_config, write_npz):
        path = write_npz(
            left=np.zeros((20, 3), dtype=np.float32),
            right=np.zeros((20, 2, 2), dtype=np.int64),
            y=np.arange(20) % 2,
        )
        assert load_tune_data(tune_config(path)).inputs == (
            TensorSpec("left", "float32", ("batch", 3)),
            TensorSpec("right", "int64", ("batch", 2, 2)),
        )

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"x": np.zeros((4, 2))}, ("has no labels",)),
            ({"x": np.zeros((0, 2)), "y": np.zeros(0, dtype=int)}, ("is empty",)),
            ({"x": np.zeros((4, 2)), "y": np.asarray([0, 1, 0])}, ("differing lengths",)),
            ({"x": np.zeros((4, 2)), "y": np.asarray([0, 1, -1, 0])}, ("label -1 of sample 2",)),
            ({"x": np.zeros((4, 2)), "y": np.asarray([0.0, 1, 1, 0])}, ("labels 'y' are float64",)),
            (
                {"x": np.asarray([[0.0], [np.nan], [0], [1]]), "y": np.asarray([0, 1, 1, 0])},
                ("holds nan at index (1, 0)",),
            ),
            ({"x": np.zeros((4, 2)), "y": np.zeros(4, dtype=int)}, ("has one class, '0'",)),
            ({"x": np.zeros((4, 2)), "y": np.asarray([0, 1, 3, 0])}, ("no sample of class '2'",)),
            (
                {"x": np.zeros((4, 2)), "y": np.asarray([0, 1, 2_000_000_000, 0])},
                ("labels up to 2000000000", "no sample of class 2"),
            ),
            (
                {
                    "x": np.zeros((4, 2)),
                    "y": np.asarray([0, 1, 0, 1]),
                    "classes": np.asarray(["a", "b", "c", "d"]),
                },
                ("no sample of class 'c', 'd'; every class needs one",),
            ),
            (
                {
                    "x": np.zeros((4, 2)),
                    "y": np.asarray([0, 1, 0, 2]),
                    "classes": np.asarray(["a", "b"]),
                },
                ("label 2 of sample 3 is no class; labels are 0 to 1",),
            ),
        ],
    )
    def test_arrays_that_cannot_be_learned_from(self, tune_config, write_npz, arrays, words):
        refused(tune_config(write_npz(**arrays)), *words)

    def test_more_than_five_missing_classes_are_counted(self, tune_config, write_npz):
        names = np.asarray([f"c{n}" for n in range(9)])
        path = write_npz(x=np.zeros((4, 2)), y=np.asarray([0, 1, 0, 1]), classes=names)
        refused(tune_config(path), "'c2', 'c3', 'c4', 'c5', 'c6' and 2 more")

    def test_a_label_that_training_does_not_have(self, tune_config, write_npz):
        train = write_npz(x=np.zeros((20, 2)), y=np.arange(20) % 2)
        other = write_npz("other.npz", x=np.zeros((4, 2)), y=np.asarray([0, 1, 0, 2]))
        config = tune_config(train, validation=str(other))
        refused(config, "label 2 of sample 3 is no class; labels are 0 to 1")

    def test_class_names_in_another_order_are_mapped(self, tune_config, write_npz):
        labels = np.arange(20) % 2
        train = write_npz(x=np.zeros((20, 2)), y=labels, classes=np.asarray(["a", "b"]))
        other = write_npz(
            "other.npz", x=np.zeros((20, 2)), y=labels, classes=np.asarray(["b", "a"])
        )
        data = load_tune_data(tune_config(train, validation=str(other)))
        assert data.validation.labels.tolist() == (1 - labels).tolist()

    def test_a_group_is_in_one_set_only(self, tune_config, write_npz):
        labels, group = np.arange(120) % 2, np.arange(120) // 6
        path = write_npz(x=np.zeros((120, 3), np.float32), y=labels, group=group)
        data = load_tune_data(tune_config(path, validation=0.2, calibration=0.25))
        parts = [set(part.group) for part in (data.train, data.validation, data.calibration)]
        assert [len(part) for part in parts] == [11, 4, 5]
        assert len(set.union(*parts)) == 20
        flat = write_npz("flat.npz", x=np.zeros((4, 3)), y=np.arange(4) % 2, group=np.eye(4))
        refused(tune_config(flat), "groups 'group' are float64 of shape (4, 4)")

    def test_parts_of_another_shape(self, tune_config, write_npz):
        labels = np.arange(20) % 2
        train = write_npz(x=np.zeros((20, 2)), y=labels)
        other = write_npz("other.npz", x=np.zeros((20, 3)), y=labels)
        refused(
            tune_config(train, calibration=str(other)),
            "data.calibration",
            "x float64 [3]; the training data holds x float64 [2]",
        )

    def test_python_objects_are_refused(self, tune_config, tmp_path):
        np.savez(tmp_path / "bad.npz", x=np.asarray([{}, {}]), y=np.asarray([0, 1]))
        refused(tune_config(tmp_path / "bad.npz"), "cannot be read", "plain numbers")


class TestFitInputs:
    @pytest.fixture
    def data(self, tune_config, write_npz):
        def made(array):
            return load_tune_data(tune_config(write_npz(x=array, y=np.arange(len(array)) % 2)))

        return made

    def test_a_single_input_takes_the_backbones_name(self, data):
        fitted = fit_inputs(
            data(np.zeros((20, 1, 4, 4), np.uint8)),
            (InputShape("pixel_values", (3, 4, 4), "float32"),),
        )
        assert list(fitted.train.inputs) == ["pixel_values"]
        assert fitted.inputs == (TensorSpec("pixel_values", "uint8", ("batch", 1, 4, 4)),)

    def test_inputs_are_put_in_the_backbones_order(self, tune_config, write_texts):
        data = load_tune_data(tune_config(write_texts("a.csv", rows()), length=8))
        wanted = [InputShape(n, (8,), "int64") for n in ("attention_mask", "input_ids")]
        fitted = fit_inputs(data, wanted)
        assert list(fitted.train.inputs) == ["attention_mask", "input_ids"]
        assert fitted.calibration.inputs["input_ids"] is data.calibration.inputs["input_ids"]
        with pytest.raises(InputError, match=r"the data holds input_ids.*takes image"):
            fit_inputs(data, [InputShape("image", (3, 4, 4), "float32")])

    @pytest.mark.parametrize(
        ("array", "shape", "dtype", "words"),
        [
            (np.zeros((20, 3, 4, 4), np.uint8), (3, 8, 6), "float32", "data.size = [8, 6]"),
            (np.zeros((20, 3, 4, 4), np.uint8), (1, 4, 4), "float32", "('batch', 1, 4, 4)"),
            (np.zeros((20, 3), np.float32), (4,), "float32", "('batch', 3)"),
            (np.zeros((20, 3), np.float32), (3, 1), "float32", "('batch', 3, 1)"),
            (np.zeros((20, 3)), (3,), "float32", "astype('float32')"),
        ],
    )
    def test_another_shape_or_type(self, data, array, shape, dtype, words):
        with pytest.raises(InputError) as caught:
            fit_inputs(data(array), [InputShape("input", shape, dtype)])
        assert words in str(caught.value), str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("input_ids", 8), ("attention_mask", -1)])
def test_a_number_that_the_backbone_does_not_know(tune_config, write_npz, name, value):
    arrays = {each: np.ones((20, 4), np.int64) for each in ("input_ids", "attention_mask")}
    wanted = [
        InputShape("input_ids", (4,), "int64", count=8),
        InputShape("attention_mask", (4,), "int64", count=2),
    ]
    labels = np.arange(20) % 2
    data = load_tune_data(tune_config(write_npz(**arrays, y=labels)))
    assert fit_inputs(data, wanted).inputs == data.inputs
    arrays[name][13, 2] = value
    data = load_tune_data(tune_config(write_npz(**arrays, y=labels)))
    with pytest.raises(InputError, match=f"input '{name}' holds {value}; the backbone takes 0 to"):
        fit_inputs(data, wanted)


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

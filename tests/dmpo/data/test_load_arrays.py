"""Ready arrays from a source to the three sets, and what cannot be learned from."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.dmpo.data.load import load_tune_data
from tests.dmpo.data.loading import refused


def test_ready_inputs_keep_their_names(tune_config, write_npz):
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
def test_arrays_that_cannot_be_learned_from(tune_config, write_npz, arrays, words):
    refused(tune_config(write_npz(**arrays)), *words)


def test_more_than_five_missing_classes_are_counted(tune_config, write_npz):
    names = np.asarray([f"c{n}" for n in range(9)])
    path = write_npz(x=np.zeros((4, 2)), y=np.asarray([0, 1, 0, 1]), classes=names)
    refused(tune_config(path), "'c2', 'c3', 'c4', 'c5', 'c6' and 2 more")


def test_a_label_that_training_does_not_have(tune_config, write_npz):
    train = write_npz(x=np.zeros((20, 2)), y=np.arange(20) % 2)
    other = write_npz("other.npz", x=np.zeros((4, 2)), y=np.asarray([0, 1, 0, 2]))
    config = tune_config(train, validation=str(other))
    refused(config, "label 2 of sample 3 is no class; labels are 0 to 1")


def test_class_names_in_another_order_are_mapped(tune_config, write_npz):
    labels = np.arange(20) % 2
    train = write_npz(x=np.zeros((20, 2)), y=labels, classes=np.asarray(["a", "b"]))
    other = write_npz("other.npz", x=np.zeros((20, 2)), y=labels, classes=np.asarray(["b", "a"]))
    data = load_tune_data(tune_config(train, validation=str(other)))
    assert data.validation.labels.tolist() == (1 - labels).tolist()


def test_a_group_is_in_one_set_only(tune_config, write_npz):
    labels, group = np.arange(120) % 2, np.arange(120) // 6
    path = write_npz(x=np.zeros((120, 3), np.float32), y=labels, group=group)
    data = load_tune_data(tune_config(path, validation=0.2, calibration=0.25))
    parts = [set(part.group) for part in (data.train, data.validation, data.calibration)]
    assert [len(part) for part in parts] == [11, 4, 5]
    assert len(set.union(*parts)) == 20
    flat = write_npz("flat.npz", x=np.zeros((4, 3)), y=np.arange(4) % 2, group=np.eye(4))
    refused(tune_config(flat), "groups 'group' are float64 of shape (4, 4)")


def test_parts_of_another_shape(tune_config, write_npz):
    labels = np.arange(20) % 2
    train = write_npz(x=np.zeros((20, 2)), y=labels)
    other = write_npz("other.npz", x=np.zeros((20, 3)), y=labels)
    refused(
        tune_config(train, calibration=str(other)),
        "data.calibration",
        "x float64 [3]; the training data holds x float64 [2]",
    )


def test_python_objects_are_refused(tune_config, tmp_path):
    np.savez(tmp_path / "bad.npz", x=np.asarray([{}, {}]), y=np.asarray([0, 1]))
    refused(tune_config(tmp_path / "bad.npz"), "cannot be read", "plain numbers")


@pytest.mark.parametrize("name", [" ", "a\x1b[31m", "\ud800"])
def test_a_class_that_no_file_could_name(tune_config, write_npz, name):
    given = {"x": np.zeros((20, 3), np.float32), "y": np.arange(20) % 2}
    path = write_npz(**given, classes=np.asarray(["a", name]))
    refused(tune_config(path), "the name of class 1", "control characters")

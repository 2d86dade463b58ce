"""Calibration data that are wrong: a typed error with its message, and the old exits untouched."""

from __future__ import annotations

import io
import pickle
import random
import zipfile

import numpy as np
import pytest

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.specs import TensorSpec
from edgeexit.calibrate.calibrate import calibrate_exits, sweep_exits
from edgeexit.datasets import load_dataset
from edgeexit.errors import InputError
from tests.cli.conftest import contents
from tests.cli.models import CLASSES, INPUTS, SAMPLES
from tests.faults.counts import count

RAW = TensorSpec("image", "uint8", ("batch", "height", "width", 3))


@pytest.fixture(scope="module")
def good(made):
    with np.load(made / "data.npz") as data:
        return dict(data)


def _changed(good, key, place, value):
    array = good[key].copy()
    array[place] = value
    return {**good, key: array}


def _cut(good, rows):
    return {name: array[:rows] for name, array in good.items()}


def _grouped(good, groups):
    return {**good, "group": np.arange(SAMPLES) % groups}


SURE = {"guarantee": 0.95}

CASES = {
    "a label too large": (
        lambda good: _changed(good, "y", 7, CLASSES),
        {},
        "input.label-range",
        "label 4 of sample 7 is no class; labels are 0 to 3.",
    ),
    "a negative label": (
        lambda good: _changed(good, "y", 0, -1),
        {},
        "input.label-range",
        "label -1 of sample 0 is no class; labels are 0 to 3.",
    ),
    "one-hot labels": (
        lambda good: {**good, "y": np.eye(CLASSES, dtype=np.int64)[good["y"]]},
        {},
        "input.labels",
        "labels 'y' are int64 of shape (800, 4); one integer a sample was expected.",
    ),
    "labels that are no integers": (
        lambda good: {**good, "y": good["y"] + 0.5},
        {},
        "input.labels",
        "labels 'y' are float64 of shape (800,); one integer a sample was expected.",
    ),
    "one class": (
        lambda good: {**good, "y": np.full(SAMPLES, 2)},
        {},
        "data.one-class",
        "all 800 labels are class 2: exits fitted to one class are wrong for the others",
    ),
    "one class, with a guarantee": (
        lambda good: {**good, "y": np.full(SAMPLES, 0)},
        {**SURE, "iid": True},
        "data.one-class",
        "all 800 labels are class 0",
    ),
    "49 samples": (
        lambda good: _cut(good, 49),
        {},
        "data.samples",
        "49 samples are too few to calibrate exits; 50 is the least.",
    ),
    "one sample": (
        lambda good: _cut(good, 1),
        {},
        "data.samples",
        "1 samples are too few",
    ),
    "no sample": (
        lambda good: _cut(good, 0),
        {},
        "input.data-empty",
        "is empty; at least one sample was expected.",
    ),
    "NaN": (
        lambda good: _changed(good, "x", (799, 7), np.nan),
        {},
        "input.not-finite",
        "input 'x' holds nan at index (799, 7); finite values were expected.",
    ),
    "infinity": (
        lambda good: _changed(good, "x", (0, 0), -np.inf),
        {},
        "input.not-finite",
        "input 'x' holds -inf at index (0, 0); finite values were expected.",
    ),
    "inputs so large that an exit overflows": (
        lambda good: _changed(good, "x", slice(None), 3e38),
        {},
        "records.nan",
        "the logits of exit 1 are not finite for sample ",
    ),
    "labels of another length": (
        lambda good: {**good, "y": good["y"][:-1]},
        {},
        "input.data-lengths",
        "has arrays of differing lengths: {'x': 800, 'y': 799}.",
    ),
    "groups of another length": (
        lambda good: {**good, "group": np.arange(801)},
        {},
        "input.data-lengths",
        "'group': 801",
    ),
    "groups that are objects": (
        lambda good: {**good, "group": np.array([None, "a"] * (SAMPLES // 2), dtype=object)},
        {},
        "input.group",
        "groups 'group' are object of shape (800,); one number or name a sample was expected.",
    ),
    "groups that are NaN": (
        lambda good: {**good, "group": np.full(SAMPLES, np.nan)},
        {},
        "input.group",
        "groups 'group' are float64 of shape (800,) with NaN or infinity",
    ),
    "groups in two columns": (
        lambda good: {**good, "group": np.zeros((SAMPLES, 2), np.int64)},
        {},
        "input.group",
        "groups 'group' are int64 of shape (800, 2)",
    ),
    "one group": (
        lambda good: _grouped(good, 1),
        SURE,
        "guarantee.samples",
        "1 groups cannot be split into some that fit and some that certify.",
    ),
    "ten groups": (
        lambda good: _grouped(good, 10),
        SURE,
        "guarantee.samples",
        "7 groups are too few",
    ),
    "nobody says what is independent": (
        lambda good: good,
        SURE,
        "guarantee.unit",
        "the data do not say which samples are independent, and a guarantee needs that.",
    ),
    "a column too many": (
        lambda good: {**good, "x": np.zeros((SAMPLES, INPUTS + 1), np.float32)},
        {},
        "input.shape",
        "input 'x' has shape (800, 9); the model takes ('batch', 8).",
    ),
    "another type": (
        lambda good: {**good, "x": good["x"].astype(np.float64)},
        {},
        "input.dtype",
        "input 'x' is float64; the model takes float32.",
    ),
    "another name": (
        lambda good: {"image": good["x"], "y": good["y"]},
        {},
        "input.data-keys",
        "the data holds the inputs ['image']; the model takes ['x'] (or 'x').",
    ),
}


@pytest.mark.parametrize(("spoil", "options", "code", "message"), CASES.values(), ids=CASES)
def test_what_is_wrong_is_named(made, good, tmp_path, spoil, options, code, message):
    before = contents(made / "model.eex")
    options = {"budget": 0.7, **options, "output": tmp_path / "exits.json"}
    with pytest.raises(InputError) as caught:
        calibrate_exits(made / "model.eex", spoil(good), **options)
    assert (caught.value.code, message in caught.value.message) == (code, True), caught.value
    assert caught.value.hint
    assert contents(made / "model.eex") == before
    assert list(tmp_path.iterdir()) == []


def test_labels_of_one_class_may_be_ignored(made, good, tmp_path):
    one = {**good, "y": np.zeros(SAMPLES, np.int64)}
    with pytest.raises(InputError, match="all 800 labels are class 0"):
        sweep_exits(made / "model.eex", one)
    output = tmp_path / "exits.json"
    found = calibrate_exits(made / "model.eex", one, 0.7, label_free=True, output=output)
    assert found.family.quality_kind == "agreement"
    assert found.family.samples == SAMPLES


class Payload:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (type(self.mark).touch, (self.mark,))


@pytest.mark.parametrize("name", ["x", "y", "group", "classes", "more"])
@pytest.mark.parametrize("how", ["array", "member"])
def test_no_pickle_in_an_npz_is_run(made, good, tmp_path, name, how):
    """As an array of objects, and as a member of the archive that is a bare pickle."""
    mark = tmp_path / "ran"
    path = tmp_path / "bad.npz"
    if how == "array":
        np.savez(path, **{**good, name: np.array([Payload(mark)] * SAMPLES, dtype=object)})
        wanted = f"array '{name}.npy' holds object; plain numbers and text are read."
    else:
        np.savez(path, **{key: array for key, array in good.items() if key != name})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{name}.npy", pickle.dumps(Payload(mark)))
        wanted = f"{path} cannot be read: "
    with pytest.raises(InputError) as caught:
        calibrate_exits(made / "model.eex", path, 0.7, output=tmp_path / "exits.json")
    assert caught.value.code == "input.data-unreadable"
    assert wanted in caught.value.message
    assert not mark.exists()
    if how == "array":
        np.load(path, allow_pickle=True)[name]
    else:
        pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists(), "the payload is a live one"


def _mutant(rng, data):
    data = bytearray(data)
    how = rng.choice(("flip", "zero", "cut", "grow", "move"))
    place = rng.randrange(len(data))
    if how == "flip":
        data[place] ^= 1 << rng.randrange(8)
    elif how == "zero":
        data[place : place + 64] = bytes(len(data[place : place + 64]))
    elif how == "cut":
        del data[place:]
    elif how == "grow":
        data[place:place] = rng.randbytes(rng.randint(1, 64))
    else:
        piece = data[place : place + 100]
        to = rng.randrange(len(data))
        data[to : to + len(piece)] = piece
    return bytes(data)


def _load(source, **wanted):
    try:
        return load_dataset(source, **wanted)
    except InputError as error:
        return error


@pytest.mark.timeout(900)
@pytest.mark.parametrize("saved", [np.savez, np.savez_compressed])
def test_a_damaged_npz_is_read_or_refused(made, good, tmp_path, saved):
    """Never another exception; a damaged archive may still hold what it held."""
    specs = Bundle.open(made / "model.eex").manifest.inputs
    file = io.BytesIO()
    saved(file, **_cut(good, 60))
    path, rng, refused = tmp_path / "bad.npz", random.Random(1), 0
    tries = count(300, 5000)
    for _ in range(tries):
        path.write_bytes(_mutant(rng, file.getvalue()))
        data = _load(path, inputs=specs, class_count=CLASSES)
        if isinstance(data, InputError):
            refused += 1
            assert data.message
            assert data.hint
        else:
            assert np.isfinite(data.inputs["x"]).all()
    assert refused > tries // 2


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif", "webp", "tiff", "ppm"])
def test_a_damaged_image_is_read_or_named(tmp_path, kind):
    pillow = pytest.importorskip("PIL.Image")
    noise = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    file = io.BytesIO()
    pillow.fromarray(noise).save(file, kind)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    pillow.fromarray(noise).save(tmp_path / "cat" / "good.png")
    path, rng, refused = tmp_path / "dog" / f"bad.{kind}", random.Random(2), 0
    for _ in range(count(60, 1500)):
        path.write_bytes(_mutant(rng, file.getvalue()))
        data = _load(tmp_path, inputs=[RAW])
        if isinstance(data, InputError):
            refused += 1
            assert str(path) in data.message
            assert data.code in ("input.image", "input.image-size")
        else:
            assert data.inputs["image"].shape == (2, 9, 11, 3)
    assert refused > 10


def test_an_image_that_claims_to_be_huge_is_refused(tmp_path):
    """Before its pixels take memory: a file of a few bytes may claim 30,000 x 30,000."""
    pytest.importorskip("PIL.Image")
    (tmp_path / "cat").mkdir()
    bomb = tmp_path / "cat" / "bomb.ppm"
    bomb.write_bytes(b"P6 30000 30000 255\n" + b"x" * 100)
    with pytest.raises(InputError, match=r"bomb\.ppm cannot be decoded") as caught:
        load_dataset(tmp_path, inputs=[RAW])
    assert caught.value.code == "input.image"


def test_empty_class_folders(tmp_path):
    """All empty is no data; one that is empty keeps the others' numbers, as a class not sampled."""
    pillow = pytest.importorskip("PIL.Image")
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="holds no class folders with images") as caught:
        load_dataset(tmp_path, inputs=[RAW])
    assert caught.value.code == "input.data-empty"
    for name in ("a", "c"):
        pillow.new("RGB", (4, 5)).save(tmp_path / name / "one.png")
    data = load_dataset(tmp_path, inputs=[RAW])
    assert data.classes == ("a", "b", "c")
    assert data.labels.tolist() == [0, 2]
    with pytest.raises(InputError, match=r"has classes \['b', 'c'\], the model has \['a', 'd'\]"):
        load_dataset(tmp_path, inputs=[RAW], classes=("a", "d"))

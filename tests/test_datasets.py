"""Data sets from files, folders and functions, and every way in which they are not usable."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeexit.bundle.npz import NpzError, read_npz
from edgeexit.bundle.specs import TensorSpec
from edgeexit.datasets import Dataset, load_dataset
from edgeexit.errors import InputError
from edgeexit.image_folder import read_image

IMAGE = TensorSpec("image", "float32", ("batch", 2, 3))
MASK = TensorSpec("mask", "int64", ("batch", "seq"))
RAW = TensorSpec("image", "uint8", ("batch", 4, 5, 3))


def _image(count: int = 6) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)


def _npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_npz_by_name_and_as_x(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)
    named = load_dataset(_npz(tmp_path / "a.npz", image=_image(), y=labels), inputs=[IMAGE])
    short = load_dataset(_npz(tmp_path / "b.npz", x=_image(), y=labels), inputs=[IMAGE])
    for data in (named, short):
        np.testing.assert_array_equal(data.inputs["image"], _image(), strict=True)
        assert data.labels is not None
        assert data.labels.dtype == np.int64
        assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]
        assert len(data) == 6
        assert data.group is None
        assert data.classes is None
    assert named.sha256 == short.sha256
    other = load_dataset(_npz(tmp_path / "c.npz", x=_image() + 1, y=labels), inputs=[IMAGE])
    assert other.sha256 != named.sha256


def test_several_inputs_groups_and_classes() -> None:
    source = {
        "image": _image(),
        "mask": np.ones((6, 9), dtype=np.int64),
        "group": np.array([1, 1, 2, 2, 3, 3]),
        "y": np.array([0, 1, 0, 1, 0, 1]),
        "classes": np.array(["cat", "dog"]),
    }
    data = load_dataset(source, inputs=[IMAGE, MASK])
    assert list(data.inputs) == ["image", "mask"]
    assert data.group is not None
    assert data.group.tolist() == [1, 1, 2, 2, 3, 3]
    assert data.classes == ("cat", "dog")
    mapped = load_dataset(source, inputs=[IMAGE, MASK], classes=("dog", "cow", "cat"))
    assert mapped.labels is not None
    assert mapped.labels.tolist() == [2, 0, 2, 0, 2, 0]
    assert mapped.classes == ("dog", "cow", "cat")


def test_without_specs_every_array_is_an_input() -> None:
    data = load_dataset({"a": np.zeros(3), "b": np.zeros((3, 1), dtype=bool), "y": np.arange(3)})
    assert list(data.inputs) == ["a", "b"]


def test_a_limit_takes_samples_evenly() -> None:
    source = {"image": _image(10), "y": np.repeat([0, 1], 5), "group": np.arange(10)}
    data = load_dataset(source, inputs=[IMAGE], limit=4)
    assert data.group is not None
    assert data.group.tolist() == [0, 2, 5, 7]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(data.inputs["image"], _image(10)[[0, 2, 5, 7]])
    assert len(load_dataset(source, inputs=[IMAGE], limit=99)) == 10


def _with(index: tuple[int, ...], value: float) -> Any:
    image = _image()
    image[index] = value
    return image


BAD: list[tuple[dict[str, Any], str, str]] = [
    (
        {"images": _image()},
        r"holds the inputs \['images'\]; the model takes \['image'\]",
        "data-keys",
    ),
    ({"image": _image(), "z": _image()}, r"the inputs \['image', 'z'\]", "data-keys"),
    ({}, r"the inputs \[\]", "data-keys"),
    ({"image": _image(), "y": np.arange(5)}, "lengths: {'image': 6, 'y': 5}", "data-lengths"),
    ({"image": _image(), "group": np.arange(7)}, "'group': 7", "data-lengths"),
    ({"image": _image().astype(np.float64)}, "is float64; the model takes float32", "dtype"),
    ({"image": _image().astype(">f4")}, "the model takes float32", "dtype"),
    ({"image": np.array(["a"])}, "holds <U1; numbers", "dtype"),
    ({"image": np.array([None])}, "holds object; numbers", "dtype"),
    ({"image": np.float32(1)}, "is a single number", "shape"),
    ({"image": _image()[:, :, :2]}, r"has shape \(6, 2, 2\); the model takes", "shape"),
    ({"image": _image()[0]}, r"has shape \(2, 3\)", "shape"),
    ({"image": _image()[:0]}, "is empty", "data-empty"),
    ({"image": _with((3, 1, 2), np.nan)}, r"holds nan at index \(3, 1, 2\)", "not-finite"),
    ({"image": _with((5, 0, 0), -np.inf)}, r"holds -inf at index \(5, 0, 0\)", "not-finite"),
    ({"image": _image(), "y": np.zeros(6)}, "labels 'y' are float64", "labels"),
    ({"image": _image(), "y": np.eye(6, dtype=int)}, r"shape \(6, 6\)", "labels"),
    (
        {"image": _image(), "y": np.array([0, 1, -1, 0, 0, 0])},
        "label -1 of sample 2",
        "label-range",
    ),
    (
        {"image": _image(), "y": np.array([0, 1, 2, 3, 0, 0])},
        r"label 3 .* are 0 to 2",
        "label-range",
    ),
    (
        {"image": _image(), "y": np.array([0, 2**64 - 1] * 3, dtype=np.uint64)},
        "18446744073709551615",
        "label-range",
    ),
    (
        {"image": _image(), "y": np.array([0, 1] * 3), "classes": np.array(["a"])},
        "label 1 of sample 1",
        "label-range",
    ),
    ({"image": _image(), "classes": np.array(["a", "a"])}, "distinct names", "classes"),
]


@pytest.mark.parametrize(("source", "fault", "code"), BAD, ids=[fault for _, fault, _ in BAD])
def test_what_is_not_usable_is_named(source: dict[str, Any], fault: str, code: str) -> None:
    with pytest.raises(InputError, match=fault) as error:
        load_dataset(source, inputs=[IMAGE], class_count=3)
    assert error.value.code == f"input.{code}"


def test_labels_that_are_needed() -> None:
    with pytest.raises(InputError, match="has no labels; an array 'y' was expected"):
        load_dataset({"x": _image()}, inputs=[IMAGE], need_labels=True)
    with pytest.raises(InputError, match="limit is 0"):
        load_dataset({"x": _image()}, inputs=[IMAGE], limit=0)
    source = {"x": _image(), "y": np.zeros(6, int), "classes": np.array(["cow"])}
    with pytest.raises(InputError, match=r"has classes \['cow'\], the model has"):
        load_dataset(source, inputs=[IMAGE], classes=("cat", "dog"))


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist") as error:
        load_dataset(tmp_path / "no.npz")
    assert error.value.code == "input.data-missing"
    path = tmp_path / "bad.npz"
    for data in (b"", b"not a zip", b"PK\x03\x04", pickle.dumps({"x": 1})):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"no readable \.npz"):
            load_dataset(path)
    np.save(tmp_path / "single.npy", _image())
    with pytest.raises(InputError, match=r"no readable \.npz"):
        load_dataset(tmp_path / "single.npy")
    whole = _npz(tmp_path / "whole.npz", x=_image()).read_bytes()
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"no readable \.npz"):
            load_dataset(path)


class _Payload:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_a_pickle_in_an_npz_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    payload = np.array([_Payload(mark)], dtype=object)
    path = _npz(tmp_path / "bad.npz", x=payload)
    with pytest.raises(InputError, match="holds object; plain numbers and text are read"):
        load_dataset(path)
    assert not mark.exists()
    np.load(path, allow_pickle=True)["x"]
    assert mark.exists(), "the payload is a live one"


def _member(header: bytes, data: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        length = len(header).to_bytes(2, "little")
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + length + header + data)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': '|V4', 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': '<f4', 'fortran_order': False}",
        b"__import__('os').getpid()",
        b"{" * 5000,
        b"\xff\xfe",
    ],
)
def test_hostile_headers_are_refused_before_memory_is_taken(header: bytes) -> None:
    with pytest.raises(NpzError):
        read_npz(_member(header, b"\0\0\x80?"))


def test_an_npz_that_unpacks_to_too_much(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(1 << 20))
    with pytest.raises(NpzError, match="unpacks to 1 arrays of 8388736 bytes; at most 4096"):
        read_npz(tmp_path / "bomb.npz", limit=1 << 20)


def test_fortran_and_big_endian_arrays_are_read(tmp_path: Path) -> None:
    arrays = {
        "f": np.asfortranarray(_image()[0]),
        "b": np.arange(5, dtype=">i4"),
        "s": np.float64(3.5),
        "t": np.array(["ab", "c"]),
    }
    read = read_npz(_npz(tmp_path / "a.npz", **arrays))
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].tolist() == array.tolist()
        assert read[name].flags.c_contiguous
        assert read[name].dtype.isnative


def _folder(root: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    image = pytest.importorskip("PIL.Image")
    for number, (name, (height, width)) in enumerate(sizes.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (width, height), (number, 10, 20)).save(path)
    return root


FOLDER = {"dog/b.png": (4, 5), "cat/a.png": (4, 5), "cat/c.bmp": (4, 5), "cat/.x.png": (9, 9)}


def test_a_folder_of_images(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "data", FOLDER)
    (folder / "notes.txt").write_text("not a class")
    data = load_dataset(folder, inputs=[RAW])
    assert data.inputs["image"].shape == (3, 4, 5, 3)
    assert data.inputs["image"].dtype == np.uint8
    assert data.inputs["image"][:, 0, 0, 0].tolist() == [1, 2, 0]
    assert data.classes == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    mapped = load_dataset(folder, inputs=[RAW], classes=("dog", "cat"))
    assert mapped.labels is not None
    assert mapped.labels.tolist() == [1, 1, 0]
    gray = TensorSpec("image", "uint8", ("batch", "height", "width", 1))
    assert load_dataset(folder, inputs=[gray]).inputs["image"].shape == (3, 4, 5, 1)
    assert list(load_dataset(folder).inputs) == ["x"]


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "data", FOLDER)
    with pytest.raises(InputError, match="feeds one uint8 input") as error:
        load_dataset(folder, inputs=[IMAGE])
    assert "bake the preprocessing" in error.value.hint
    small = TensorSpec("image", "uint8", ("batch", 8, 5, 3))
    with pytest.raises(InputError, match=r"a\.png is 4x5 \(height x width\); 8x5 was expected"):
        load_dataset(folder, inputs=[small])
    _folder(folder, {"dog/z.png": (6, 6)})
    free = TensorSpec("image", "uint8", ("batch", "height", "width", 3))
    with pytest.raises(InputError, match=r"z\.png is 6x6 .*; 4x5 was expected"):
        load_dataset(folder, inputs=[free])
    (folder / "dog" / "z.png").write_bytes(b"\x89PNG\r\n\x1a\n rest is missing")
    with pytest.raises(InputError, match=r"z\.png cannot be decoded"):
        load_dataset(folder, inputs=[free])
    two = TensorSpec("image", "uint8", ("batch", "height", "width", 2))
    with pytest.raises(InputError, match="images have 1, 3 or 4 channels; the model takes 2"):
        load_dataset(folder, inputs=[two])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no class folders with images"):
        load_dataset(tmp_path / "empty", inputs=[RAW])


def test_without_pillow_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path / "data", FOLDER)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match="Pillow is not installed") as error:
        load_dataset(folder, inputs=[RAW])
    assert "pip install 'edgeexit[images]'" in error.value.hint


def test_a_function_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_fake_data.py").write_text(
        "import numpy as np\n"
        "def good():\n    return {'x': np.ones((4, 2, 3), 'float32'), 'y': [0, 1, 0, 1]}\n"
        "def wrong():\n    return [1, 2]\n"
        "def failing():\n    raise RuntimeError('no network')\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    data: Dataset = load_dataset("my_fake_data:good", inputs=[IMAGE], need_labels=True)
    assert len(data) == 4
    with pytest.raises(InputError, match="returned list; a mapping of arrays was expected"):
        load_dataset("my_fake_data:wrong")
    with pytest.raises(InputError, match="failed with RuntimeError: no network"):
        load_dataset("my_fake_data:failing")
    with pytest.raises(InputError, match="failed with AttributeError"):
        load_dataset("my_fake_data:absent")
    with pytest.raises(InputError, match="failed with ModuleNotFoundError"):
        load_dataset("no_such_module_at_all:load")
    assert sys.path == before
    del sys.modules["my_fake_data"]


def test_a_folder_for_a_model_that_takes_channels_first(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        image.fromarray(pixels).save(tmp_path / name / "one.png")
    spec = TensorSpec("image", "uint8", ("batch", 3, 6, 5))
    found = load_dataset(tmp_path, inputs=[spec])
    assert np.array_equal(found.inputs["image"], np.stack([pixels.transpose(2, 0, 1)] * 2))
    one = read_image(tmp_path / "cat" / "one.png", [spec])
    assert np.array_equal(one, pixels.transpose(2, 0, 1)[None])
    narrow = TensorSpec("image", "uint8", ("batch", 3, 6, 9))
    with pytest.raises(InputError, match=r"is 6x5 \(height x width\); 6x9 was expected"):
        read_image(tmp_path / "cat" / "one.png", [narrow])


def test_lists_that_are_no_array() -> None:
    with pytest.raises(InputError, match="'x' of the data is no array") as caught:
        load_dataset({"x": [[1, 2], [3]], "y": [0, 1]})
    assert caught.value.code == "input.data-ragged"


@pytest.mark.parametrize("data", [np.ones((4, 2, 3)), [1, 2], 7])
def test_data_that_is_no_source(data: object) -> None:
    with pytest.raises(InputError, match=f"of type {type(data).__name__}; a path or arrays") as e:
        load_dataset(data)  # type: ignore[arg-type]
    assert e.value.code == "input.data-type"

"""A tuned folder as a stranger may hand it over: read, or refused with a reason."""

from __future__ import annotations

import dataclasses
import hashlib
import sys

import pytest

from edgeexit.bundle.jsonfile import seal_json
from edgeexit.bundle.specs import FileEntry, TensorSpec
from edgeexit.errors import BundleError, ModelError
from edgeexit.tuned import TunedFolder, TunedParity, TunedRecord, record_bytes

FILES = {"calibration.npz": b"zipped", "model.onnx": b"graph"}
ENTRIES = tuple(
    FileEntry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in FILES.items()
)
RECORD = TunedRecord(
    schema=1,
    name="news",
    method="dmpo",
    classes=("art", "sport"),
    inputs=(TensorSpec("input_ids", "int64", ("batch", 8)),),
    exits=("exit_1", "exit_2"),
    after=(1, 3),
    versions={"torch": "2.13"},
    parity=TunedParity(100, True, (1e-6, 2e-6), (0, 0)),
    files=ENTRIES,
)


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    write(tmp_path, RECORD)
    return tmp_path


def write(folder, record):
    (folder / "tuned.json").write_bytes(record_bytes(record, {"name": "news"}, {"best": [0.5]}))


def write_unchecked(folder, **changes):
    """Write what record_bytes would refuse to write."""
    from edgeexit.bundle.codec import encode

    body = encode(RECORD) | {"config": {}, "report": {}} | changes
    (folder / "tuned.json").write_bytes(seal_json("tuned", body)[0])


def test_what_was_written_is_read(folder):
    tuned = TunedFolder.open(folder)
    assert tuned.record == RECORD
    assert tuned.config == {"name": "news"}
    assert tuned.report == {"best": [0.5]}
    assert tuned.model == folder / "model.onnx"
    assert tuned.calibration == folder / "calibration.npz"
    assert len(tuned.digest) == 64


def test_files_it_does_not_name_are_not_its_business(folder):
    (folder / "notes.txt").write_text("mine")
    assert TunedFolder.open(folder).record == RECORD


def test_a_folder_without_calibration_data_has_none(folder):
    write(folder, dataclasses.replace(RECORD, files=ENTRIES[1:]))
    assert TunedFolder.open(folder).calibration is None


def test_another_folder_is_no_tuned_one(tmp_path):
    with pytest.raises(ModelError, match=r"has no tuned\.json") as caught:
        TunedFolder.open(tmp_path)
    assert caught.value.code == "model.not-tuned"


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"grapf", "bundle.changed-file", "model.onnx: was changed"),
        (b"longer graph", "bundle.changed-file", "has 12 bytes, was written with 5"),
        (None, "bundle.missing-file", "model.onnx: is missing"),
    ],
)
def test_a_changed_or_missing_file_is_refused(folder, data, code, said):
    (folder / "model.onnx").unlink()
    if data is not None:
        (folder / "model.onnx").write_bytes(data)
    with pytest.raises(BundleError, match=said) as caught:
        TunedFolder.open(folder)
    assert caught.value.code == code


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")
def test_a_link_is_refused(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "model.onnx"
    elsewhere.write_bytes(FILES["model.onnx"])
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(elsewhere)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        TunedFolder.open(folder)


def test_a_changed_tuned_json_is_refused(folder):
    path = folder / "tuned.json"
    path.write_bytes(path.read_bytes().replace(b"sport", b"spore"))
    with pytest.raises(BundleError, match=r"tuned\.json: was changed"):
        TunedFolder.open(folder)


def entry(path, number=1):
    return dataclasses.asdict(dataclasses.replace(ENTRIES[number], path=path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files": [entry("../model.onnx")]}, "could leave the bundle"),
        ({"files": [entry("/etc/passwd")]}, "is absolute"),
        ({"files": [entry("sub/model.onnx")]}, "lies in a folder"),
        ({"files": [entry("tuned.json")]}, "names itself"),
        ({"files": [entry("model.onnx"), entry("MODEL.onnx")]}, "names model.onnx and MODEL.onnx"),
        ({"files": [entry("calibration.npz", 0)]}, "names no model.onnx"),
        ({"files": "model.onnx"}, "must be a list"),
        ({"exits": ["a", "a"]}, "are not distinct names"),
        ({"after": [3, 1]}, "is not one ascending block an exit"),
        ({"after": [1]}, "is not one ascending block an exit"),
        ({"classes": ["only"]}, "are not two or more distinct names"),
        (
            {"parity": {"samples": 1, "held_out": True, "max_abs_difference": [], "flips": []}},
            "one",
        ),
        ({"name": 7}, "must be a string"),
        ({"config": []}, "config: is missing or no object"),
        ({"extra": 1}, "is not a known key"),
        ({"schema": "1"}, "must be 1"),
        ({"classes": ["a\x1b[31m", "b"]}, "control characters"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(folder, changes, said):
    write_unchecked(folder, **changes)
    with pytest.raises(BundleError) as caught:
        TunedFolder.open(folder)
    assert said in caught.value.message


def test_a_newer_format_says_so(folder):
    write_unchecked(folder, schema=2, more="things")
    with pytest.raises(BundleError, match="format version 2; this edgeexit reads 1") as caught:
        TunedFolder.open(folder)
    assert caught.value.code == "tuned.schema-newer"


@pytest.mark.parametrize("data", [b"", b"{}", b"\x00" * 100, b'{"digest":"' + b"0" * 64])
def test_rubbish_is_refused(folder, data):
    (folder / "tuned.json").write_bytes(data)
    with pytest.raises(BundleError, match="is not a sealed tuned"):
        TunedFolder.open(folder)

"""A tuned folder: what ``edgeexit tune`` writes and ``edgeexit compile`` takes. No torch here.

``tuned.json`` names every other file with its size and SHA-256, and carries its own digest in its
first line. A folder is read as a bundle is: as one that a stranger may have made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.bundle.codec import decode, encode
from edgeexit.bundle.integrity import file_entry, read_bounded
from edgeexit.bundle.jsonfile import Json, damaged, seal_json, unseal_json
from edgeexit.bundle.paths import clash, path_fault
from edgeexit.bundle.specs import FileEntry, TensorSpec
from edgeexit.errors import BundleError, ModelError

SCHEMA = 1
"""Version of the folder's format that this edgeexit writes and reads."""

TUNED = "tuned.json"
MODEL = "model.onnx"
WEIGHTS = "model.safetensors"
CALIBRATION = "calibration.npz"
TOKENIZER = "tokenizer.json"

_MOST_BYTES = 16 << 20
_MOST_FILES = 64
_MOST_EXITS = 256


@dataclass(frozen=True)
class TunedParity:
    """How far the exported graph is from the torch model with its adapters still apart.

    Attributes:
        samples: Inputs that both answered.
        held_out: Whether these were kept from training.
        max_abs_difference: Largest difference of a logit, one an exit.
        flips: Samples whose top class differs, one count an exit.
    """

    samples: int
    held_out: bool
    max_abs_difference: tuple[float, ...]
    flips: tuple[int, ...]


@dataclass(frozen=True)
class TunedRecord:
    """What ``tuned.json`` says beside the configuration and the report.

    Attributes:
        schema: Version of the format.
        name: The model's name.
        method: How it was tuned, e.g. ``dmpo``.
        classes: Class names; logits index them.
        inputs: The model's inputs in order.
        exits: Names of the exits' outputs, first to last.
        after: The block (from 1) that each exit follows.
        versions: Of the tools that tuned and exported it, by name.
        parity: The exported graph against the torch model.
        files: Every other file, sorted by path.
    """

    schema: int
    name: str
    method: str
    classes: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    exits: tuple[str, ...]
    after: tuple[int, ...]
    versions: Mapping[str, str]
    parity: TunedParity
    files: tuple[FileEntry, ...]


@dataclass(frozen=True)
class TunedFolder:
    """A tuned folder whose files are all as they were written.

    Attributes:
        path: The folder.
        record: What it says of itself.
        config: The settings it was tuned with, as JSON.
        report: How the tuning went, as JSON.
        digest: SHA-256 of the body of ``tuned.json``, in hex; it stands for the whole folder.
    """

    path: Path
    record: TunedRecord
    config: Mapping[str, Json]
    report: Mapping[str, Json]
    digest: str

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> TunedFolder:
        """Read a tuned folder and hash every file it names.

        Raises:
            ModelError: It holds no ``tuned.json``.
            BundleError: A file is missing, a link or changed, or ``tuned.json`` is damaged or of
                a newer format.
        """
        folder = Path(path)
        if not is_tuned(folder):
            raise ModelError(
                f"the folder {folder} has no {TUNED}; a folder that edgeexit tune wrote has one.",
                hint="name a tuned folder, or the .onnx file itself.",
                code="model.not-tuned",
            )
        data = read_bounded(folder / TUNED, TUNED, _MOST_BYTES)
        record, config, report, digest = parse_record(data)
        for entry in record.files:
            _check_file(folder, entry)
        return cls(folder, record, config, report, digest)

    @property
    def model(self) -> Path:
        """The exported graph, with all exits."""
        return self.path / MODEL

    @property
    def calibration(self) -> Path | None:
        """The data kept for the quantizer and for ``edgeexit calibrate``, if any."""
        named = any(entry.path == CALIBRATION for entry in self.record.files)
        return self.path / CALIBRATION if named else None

    def require_exits(self) -> None:
        """Check that there is something to decide between.

        Raises:
            ModelError: It was tuned with one exit.
        """
        if len(self.record.exits) < 2:
            raise ModelError(
                f"{self.path} was tuned with one exit, after block {self.record.after[0]}; a "
                "bundle decides between two or more.",
                hint=f"tune with two or more blocks in exits.after; its {MODEL} runs as it is in "
                "any engine that reads ONNX.",
                code="model.single-output",
            )


def is_tuned(folder: Path) -> bool:
    """Return whether a folder holds a ``tuned.json``, sound or not."""
    return os.path.lexists(folder / TUNED)


def record_bytes(
    record: TunedRecord, config: Mapping[str, Any], report: Mapping[str, Any]
) -> bytes:
    """Return the contents of ``tuned.json``.

    Raises:
        BundleError: A reader would refuse them; the message names the field.
    """
    body = encode(record)
    assert isinstance(body, dict)
    data, _ = seal_json("tuned", body | {"config": encode(config), "report": encode(report)})
    parse_record(data)
    return data


def parse_record(
    data: bytes,
) -> tuple[TunedRecord, Mapping[str, Json], Mapping[str, Json], str]:
    """Return record, configuration, report and digest of the bytes of a ``tuned.json``.

    Raises:
        BundleError: It is damaged, of a newer format, or contradicts itself.
    """
    body, digest = unseal_json(data, "tuned", TUNED, _MOST_BYTES)
    if not isinstance(body, dict):
        raise damaged(TUNED, "holds no object.")
    _check_schema(body.get("schema"))
    config, report = (_object(body.pop(key, None), key) for key in ("config", "report"))
    record = decode(TunedRecord, body, TUNED)
    _check_record(record)
    return record, config, report, digest


def _object(value: Json, key: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise damaged(f"{TUNED}: {key}", "is missing or no object.")
    return value


def _check_schema(schema: Json) -> None:
    if type(schema) is not int or schema < 1:
        raise damaged(f"{TUNED}: schema", f"holds {ascii(schema)[:60]}; it must be {SCHEMA}.")
    if schema > SCHEMA:
        raise BundleError(
            f"{TUNED}: the folder has format version {schema}; this edgeexit reads {SCHEMA}.",
            hint="upgrade edgeexit, or tune again with this version.",
            code="tuned.schema-newer",
        )


def _check_record(record: TunedRecord) -> None:
    exits, after = record.exits, record.after
    _require(bool(record.name), "name", "is empty.")
    _require(0 < len(exits) <= _MOST_EXITS, "exits", f"names {len(exits)} exits.")
    _require(all(exits) and len(set(exits)) == len(exits), "exits", "are not distinct names.")
    ascending = all(low < high for low, high in zip((0, *after), after, strict=False))
    _require(ascending and len(after) == len(exits), "after", "is not one ascending block an exit.")
    parity = (record.parity.max_abs_difference, record.parity.flips)
    _require(all(len(each) == len(exits) for each in parity), "parity", "is not one an exit.")
    distinct = len(set(record.classes)) == len(record.classes) > 1
    _require(distinct and all(record.classes), "classes", "are not two or more distinct names.")
    _check_paths([entry.path for entry in record.files])


def _check_paths(paths: Sequence[str]) -> None:
    _require(len(paths) <= _MOST_FILES, "files", f"names {len(paths)} files.")
    for path in paths:
        fault = path_fault(path) or ("lies in a folder" if "/" in path else None)
        if fault or path == TUNED:
            fault = fault or "names itself"
            raise damaged(f"{TUNED}: files: {ascii(path)[:210]}", f"{fault}.", code="bundle.path")
    if pair := clash(paths):
        raise damaged(f"{TUNED}: files", f"names {pair[0]} and {pair[1]}.", code="bundle.path")
    _require(MODEL in paths, "files", f"names no {MODEL}.")


def _require(holds: bool, field: str, fault: str) -> None:
    if not holds:
        raise damaged(f"{TUNED}: {field}", fault, code="tuned.record")


def _check_file(folder: Path, entry: FileEntry) -> None:
    """Check that a file is as it was written; its size first, for hashing takes long."""
    found = _size(folder / entry.path)
    if found is not None and found != entry.size:
        fault = f"has {found} bytes, was written with {entry.size}."
        raise damaged(entry.path, fault, code="bundle.changed-file")
    if file_entry(folder, entry.path) != entry:
        fault = f"was changed: its SHA-256 is no longer {entry.sha256}."
        raise damaged(entry.path, fault, code="bundle.changed-file")


def _size(path: Path) -> int | None:
    """Return the size of what is at ``path``; None where hashing it will say what is wrong."""
    try:
        return None if path.is_symlink() else path.lstat().st_size
    except OSError:
        return None

"""The manifest is refused where it contradicts itself, naming the field."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.codec import encode
from edgeexit.bundle.jsonfile import MAX_ENTRIES, seal_json
from edgeexit.bundle.manifest import MAX_MANIFEST_BYTES, parse_manifest
from edgeexit.bundle.paths import clash, path_fault
from edgeexit.bundle.writer import BundleWriter
from edgeexit.errors import BundleError
from tests.bundle.fake_bundle import fake_manifest, write_fake

Body = dict[str, Any]


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The body of a good manifest, as text: every test changes a copy."""
    bundle = write_fake(tmp_path_factory.mktemp("good") / "m.eex")
    return json.dumps(encode(bundle.manifest))


def _set(place: str, value: Any) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        *steps, last = [int(s) if s.isdigit() else s for s in place.split(".")]
        target: Any = body
        for step in steps:
            target = target[step]
        target[last] = value

    return change


def _delete(body: Body) -> None:
    del body["stages"][0]["gate"]["features"]


FAULTS: list[tuple[Callable[[Body], None], str]] = [
    (_set("schema", 0), "schema: holds 0; it must be 1"),
    (_set("schema", True), "schema: holds True"),
    (_set("name", ""), "name: is empty"),
    (_set("name", 7), "name: holds 7; it must be a string"),
    (_set("name", "a\x1b[2J"), "control characters"),
    (_set("extra", 1), "extra: is not a known key"),
    (_delete, r"stages\[0\].gate.features: is missing"),
    (_set("stages.0", None), r"stages\[0\]: holds None; it must be an object"),
    (_set("stages", {}), "stages: holds {}; it must be a list"),
    (_set("stages.1.number", 3), r"stages\[1\].number: is 3; stages are numbered from 1"),
    (_set("stages.0.number", 1.0), r"stages\[0\].number: holds 1.0; it must be an integer"),
    (_set("stages.0.number", True), r"stages\[0\].number: holds True; it must be an integer"),
    (_set("stages.0.flops", 0), r"stages\[0\].flops: is 0"),
    (_set("stages.0.flops", 10**19), r"stages\[0\].flops: is 1"),
    (_set("stages.0.params", -1), r"stages\[0\].params: is -1"),
    (_set("stages.0.gate", None), r"stages\[0\].gate: is missing"),
    (_set("stages.2.gate", encode(fake_manifest().stages[0].gate)), "the last stage has no gate"),
    (_set("stages.1.gate.version", 2), "have gates of 2 kinds"),
    (_set("stages.0.gate.default_params", [1.0]), r"gate.params: is TensorSpec"),
    (_set("stages.0.gate.state", ["nowhere"]), "'nowhere' is not among carried_out"),
    (_set("stages.0.gate.score", "features"), "two outputs of their own"),
    (_set("stages.0.gate.features", ["bias", "bias"]), "'bias' appears twice"),
    (_set("stages.0.file", "graphs/other.onnx"), "is not among the sealed files"),
    (_set("stages.0.exit.name", "exit_2"), "'exit_2' appears twice"),
    (_set("stages.0.exit.outputs", []), "the logits come first"),
    (_set("stages.0.carried_out", []), "'hidden_1' is not produced by an earlier stage"),
    (_set("stages.1.carried_in.0.dtype", "float16"), "'hidden_1' is not produced by an earlier"),
    (_set("stages.2.carried_in", []), "nothing feeds the stage"),
    (_set("stages.1.carried_out.0.name", "hidden_1"), "produced by two stages"),
    (_set("stages.0.inputs", []), "nothing feeds the stage"),
    (_set("stages.0.inputs.0.name", "other"), "'other' is not among the model's inputs"),
    (_set("inputs", []), "a model has at least one input"),
    (_set("inputs.0.shape", [1, 2]), "is not among the model's inputs"),
    (_set("inputs.0.dtype", "object"), "'object'; it must be one of"),
    (_set("inputs.0.shape.1", 0), r"shape\[1\]: is 0"),
    (_set("inputs.0.shape.1", "2*(n)"), "is no dimension"),
    (_set("inputs.0.shape.1", 2.5), "must be an integer or a string"),
    (_set("inputs.0.batch_axis", 4), "batch_axis: is 4; the tensor has axes 0 to 3"),
    (_set("inputs.0.batch_axis", None), "without a batch axis has 0"),
    (_set("inputs.0.rows_per_sample", 49), "the batch dimension batch has 1"),
    (_set("static_flops", 0), "static_flops: is 0"),
    (_set("static", "graphs/none.onnx"), "static: 'graphs/none.onnx' is not among"),
    (_set("whole", "../whole.onnx"), "whole: .* is not among the sealed files"),
    (_set("precision", "fp4"), "precision: is 'fp4'"),
    (_set("decision_unit", "token"), "decision_unit: is 'token'"),
    (_set("classes", ["a"]), "has 1 names; the last exit has 3"),
    (_set("preprocessing.input", "x"), "'x' is no uint8 input of rank 4"),
    (_set("preprocessing.std", [0.0]), "not positive"),
    (_set("preprocessing.mean", [0.0, 0.0]), "as many as mean"),
    (_set("preprocessing.size", [0, 5]), "both must be positive"),
    (_set("preprocessing.size", [5]), "must be a list of 2"),
    (_set("preprocessing.scale", -1), "must be positive"),
    (_set("provenance.tools", {"onnx": 1}), "provenance.tools.onnx: holds 1"),
    (_set("compaction.allowed", 1), "compaction.allowed: holds 1; it must be true or false"),
    (_set("files.0.size", -1), r"files\[0\].size: is -1"),
    (_set("files.0.sha256", "A" * 64), "is no SHA-256"),
    (_set("files.0.path", "zzz"), "is not sorted"),
    (_set("files.0.path", "exits.json"), "lies outside the seal"),
    (_set("files.0.path", "Manifest.json"), "lies outside the seal"),
]


@pytest.mark.parametrize(("change", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_a_contradiction_is_named(body: str, change: Callable[[Body], None], fault: str) -> None:
    changed = json.loads(body)
    change(changed)
    with pytest.raises(BundleError, match=fault):
        parse_manifest(seal_json("manifest", changed)[0])


def test_the_unchanged_body_is_read(body: str) -> None:
    manifest, _ = parse_manifest(seal_json("manifest", json.loads(body))[0])
    assert dataclasses.replace(manifest, files=()) == fake_manifest()


def _sealed(text: bytes) -> bytes:
    digest = hashlib.sha256(text + b"\n").hexdigest().encode()
    return b'{"digest":"' + digest + b'","manifest":\n' + text + b"\n}\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"[" * 200_000, "nested deeper than 32"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper than 32"),
        (b"[" + b"[]," * MAX_ENTRIES + b"1]", "entries; at most"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "at most 4194304 are read"),
        (b'{"schema": 1, "schema": 1}', "key 'schema' appears twice"),
        (b'{"schema": NaN}', "schema: is nan; a finite number is needed"),
        (b'{"a": [1, -Infinity]}', r"a\[1\]: is -inf"),
        (b'{"a": 1e999}', "a: is inf"),
        (b'{"schema": ' + b"9" * 10_000 + b"}", "10000 digits"),
        (b'{"schema": "\\ud800"}', "control characters"),
        (b'{"\\u001b": 1}', "control characters"),
        (b"\xff", "is not strict JSON"),
        (b"\xef\xbb\xbf{}", "is not strict JSON"),
        (b"{'schema': 1}", "is not strict JSON"),
        (b"{} {}", "is not strict JSON"),
        (b"", "is not strict JSON"),
        (b"1", "schema: holds None"),
    ],
)
def test_text_that_is_no_strict_json_or_too_much(text: bytes, fault: str) -> None:
    with pytest.raises(BundleError, match=fault):
        parse_manifest(_sealed(text))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"manifest":\n{}\n}\n', _sealed(b"{}")[:-1], b" " + _sealed(b"{}")]
)
def test_a_file_that_is_not_sealed(data: bytes) -> None:
    with pytest.raises(BundleError, match="is not a sealed manifest"):
        parse_manifest(data)


ESCAPES = [
    "..", "../x", "a/../x", "a/..", "./x", "a/./x", ".", "", "/x", "//x", "/", "a//x", "a/",
    "a/b/../../../x", "..\\x", "a\\..\\x", "\\\\host\\x", "C:x", "C:/x", "C:\\x", "c:\\x",
    "x\0", "x\0.onnx", "../x\0", "x\n", "x\r", "\x1bx", "x\x7f", "x:stream", "CON", "con.onnx",
    "a/NUL", "Aux.txt", "COM1", "lpt9.bin", "x.", "a./x", "x ", " x", "~/x", "~root/x", "$HOME/x",
    "%TEMP%/x", "${HOME}", "`id`", "-rf", ".git/config", ".hidden", "a*", "a?", "a|b", "<x>",
    "caf\u00e9", "\uff0e\uff0e/x", "x\u202ey", "a" * 201, "a/" * 8 + "x", "file:///x", "x;y", 'x"y',
]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES, ids=[ascii(path)[:40] for path in ESCAPES])
def test_a_path_that_could_leave_the_bundle(body: str, path: str, tmp_path: Path) -> None:
    assert len(ESCAPES) >= 40
    assert path_fault(path) is not None
    changed = json.loads(body)
    changed["files"] = [{"path": path, "size": 1, "sha256": "0" * 64}]
    with pytest.raises(BundleError):
        parse_manifest(seal_json("manifest", changed)[0])
    with BundleWriter(tmp_path / "m.eex") as writer, pytest.raises(BundleError) as error:
        writer.add_bytes(path, b"escaped")
    assert error.value.code == "bundle.path"
    assert [left.name for left in tmp_path.iterdir()] == [".m.eex.lock"]


@pytest.mark.parametrize(
    "path", ["README.md", "graphs/stage-1.onnx", "a/b/c", "x+y_z.bin", "console.txt", "a.b-c"]
)
def test_a_plain_path_is_allowed(path: str) -> None:
    assert path_fault(path) is None


def test_paths_that_are_one_where_case_does_not_count() -> None:
    assert clash(["a", "b/c", "b/d"]) is None
    assert clash(["a", "A"]) == ("a", "A")
    assert clash(["a", "A/b"]) is not None
    assert clash(["a/b", "A"]) is not None
    assert clash(["a/b", "A/c"]) == ("a", "A")


def test_a_case_clash_in_a_manifest(body: str) -> None:
    changed = json.loads(body)
    twin = dict(changed["files"][-1], path=changed["files"][-1]["path"].upper())
    changed["files"] = sorted([*changed["files"], twin], key=lambda entry: str(entry["path"]))
    with pytest.raises(BundleError, match="one file where case does not count"):
        parse_manifest(seal_json("manifest", changed)[0])


def test_the_file_name_is_in_the_message_of_open(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    (bundle.folder / "manifest.json").write_text("{}")
    with pytest.raises(BundleError, match=r"^manifest\.json: is not a sealed manifest"):
        Bundle.open(bundle.folder)

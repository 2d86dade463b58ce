"""Every change to a sealed bundle is found before anything in it is used."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeexit.bundle import Bundle
from edgeexit.bundle.codec import encode
from edgeexit.bundle.jsonfile import MAX_ENTRIES, seal_json
from edgeexit.bundle.manifest import MAX_MANIFEST_BYTES, parse_manifest
from edgeexit.bundle.specs import Manifest
from edgeexit.errors import BundleError
from tests.bundle.fake_bundle import fake_family, fake_manifest, sealed_paths, use, write_fake

MUTANTS = int(os.environ.get("EDGEEXIT_TEST_MUTANTS", "1000"))

Mutator = Callable[[random.Random, Path, Path], None]


def _flip(rng: random.Random, file: Path, other: Path) -> None:
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def _zero(rng: random.Random, file: Path, other: Path) -> None:
    data = bytearray(file.read_bytes())
    start = rng.randrange(len(data))
    data[start : start + 64] = bytes(len(data[start : start + 64]))
    file.write_bytes(data)


def _truncate(rng: random.Random, file: Path, other: Path) -> None:
    os.truncate(file, rng.randrange(file.stat().st_size))


def _append(rng: random.Random, file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randint(1, 64)))


def _delete(rng: random.Random, file: Path, other: Path) -> None:
    file.unlink()


def _swap(rng: random.Random, file: Path, other: Path) -> None:
    one, two = file.read_bytes(), other.read_bytes()
    file.write_bytes(two)
    other.write_bytes(one)


def _copy_over(rng: random.Random, file: Path, other: Path) -> None:
    file.write_bytes(other.read_bytes())


def _rename(rng: random.Random, file: Path, other: Path) -> None:
    file.rename(file.with_name(f"{file.name}{rng.choice(('.bak', 'x', '~'))}"))


def _extra(rng: random.Random, file: Path, other: Path) -> None:
    name = rng.choice(("x", ".hidden", "stage-9.onnx", "Weights.bin", "\udcff", ".edgeexit-z.tmp"))
    (file.parent / name).write_bytes(rng.randbytes(5))


def _symlink(rng: random.Random, file: Path, other: Path) -> None:
    twin = other if rng.random() < 0.5 else Path(os.path.relpath(other, file.parent))
    file.unlink()
    file.symlink_to(twin)


def _hard_link(rng: random.Random, file: Path, other: Path) -> None:
    os.link(file, Path(f"{file.parent.parent}.linked-{rng.random()}"))


def _to_folder(rng: random.Random, file: Path, other: Path) -> None:
    file.unlink()
    file.mkdir()


def _to_fifo(rng: random.Random, file: Path, other: Path) -> None:
    file.unlink()
    os.mkfifo(file)


MUTATORS: tuple[Mutator, ...] = (
    _flip, _flip, _flip, _zero, _truncate, _append, _delete, _swap, _copy_over, _rename, _extra,
    _symlink, _hard_link, _to_folder, _to_fifo,
)  # fmt: skip


def _state(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in sealed_paths(folder)}


def test_every_mutant_is_a_bundle_error(tmp_path: Path) -> None:
    good = write_fake(tmp_path / "good.eex")
    good.write_exits(fake_family(good))
    original = _state(good.folder)
    paths = sorted(original)
    rng = random.Random(20260101)
    refused = unchanged = 0
    for number in range(MUTANTS):
        folder = tmp_path / "runs" / "mutant.eex"
        shutil.copytree(good.folder, folder)
        path = paths[number % len(paths)]
        mutator = MUTATORS[number // len(paths) % len(MUTATORS)]
        other = rng.choice([each for each in paths if each != path])
        if mutator is _delete and path == "exits.json":
            mutator = _flip  # a bundle without exits is a good one, not yet calibrated
        if mutator is _rename and path == "exits.json":
            mutator = _zero
        mutator(rng, folder / path, folder / other)
        if mutator in (_flip, _zero) and _state(folder) == original:
            unchanged += 1
        else:
            with pytest.raises(BundleError):
                use(folder)
            refused += 1
        shutil.rmtree(tmp_path / "runs")
    assert refused + unchanged == MUTANTS
    assert unchanged <= MUTANTS // 100
    use(good.folder)


def test_the_message_names_the_file_and_what_happened(tmp_path: Path) -> None:
    cases: list[tuple[Mutator, str, str]] = [
        (_flip, r"^graphs/stage-1\.onnx: was changed: its SHA-256 is [0-9a-f]{64}", "changed-file"),
        (_truncate, r"^graphs/stage-1\.onnx: has \d+ bytes, was sealed with 300\.", "changed-file"),
        (_delete, r"^graphs/stage-1\.onnx: is missing from the bundle", "missing-file"),
        (_swap, r"^graphs/stage-1\.onnx: holds the contents of graphs/stage-2\.on", "changed-file"),
        (_symlink, r"^'graphs/stage-1\.onnx': is a symbolic link", "link"),
        (_hard_link, r"^'graphs/stage-1\.onnx': has 2 hard links", "link"),
        (_to_fifo, r"^'graphs/stage-1\.onnx': is no regular file", "file"),
        (_to_folder, r"^'graphs/stage-1\.onnx': is an empty folder", "extra-file"),
        (_extra, r"is in the folder but not in the manifest; remove it", "extra-file"),
    ]
    for number, (mutator, fault, code) in enumerate(cases):
        folder = write_fake(tmp_path / f"{number}.eex").folder
        graphs = folder / "graphs"
        mutator(random.Random(3), graphs / "stage-1.onnx", graphs / "stage-2.onnx")
        with pytest.raises(BundleError, match=fault) as error:
            Bundle.open(folder)
        assert error.value.code == f"bundle.{code}"


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = write_fake(tmp_path / "m.eex").folder
    (folder / "graphs").rename(tmp_path / "graphs")
    (folder / "graphs").symlink_to(tmp_path / "graphs")
    with pytest.raises(BundleError, match="'graphs': is a symbolic link"):
        Bundle.open(folder)


def test_a_bundle_reached_through_a_link_is_read(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "v2.eex")
    (tmp_path / "current.eex").symlink_to("v2.eex")
    assert Bundle.open(tmp_path / "current.eex").digest == bundle.digest


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_fake(tmp_path / "m.eex").folder
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(BundleError, match="'socket': is no regular file"):
            Bundle.open(folder)


def test_a_manifest_that_lies_about_sizes_is_found_without_hashing(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    body: Any = encode(bundle.manifest)
    body["files"][0]["size"] = 1 << 50
    (bundle.folder / "manifest.json").write_bytes(seal_json("manifest", body)[0])
    with pytest.raises(BundleError, match=f"was sealed with {1 << 50}"):
        Bundle.open(bundle.folder)


def test_too_many_files_are_not_listed(tmp_path: Path) -> None:
    folder = write_fake(tmp_path / "m.eex").folder
    for number in range(4100):
        (folder / f"f{number}").touch()
    with pytest.raises(BundleError, match="more than 4096 files"):
        Bundle.open(folder)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["batch", "float32", "../x", "graphs/stage-1.onnx", "9*batch", "exit_1"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    children: list[tuple[Any, Any]] = list(value.items()) if isinstance(value, dict) else []
    children = list(enumerate(value)) if isinstance(value, list) else children
    for key, child in children:
        found += _places(child, (*path, key))
    return found


BODY = json.dumps(encode(fake_manifest(sealed=True)))
PLACES = _places(json.loads(BODY))


def _manifest_or_error(data: bytes) -> Manifest | BundleError:
    try:
        return parse_manifest(data)[0]
    except BundleError as error:
        return error


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "delete", "add"]), JSON_VALUES),
        min_size=1,
        max_size=3,
    )
)
def test_a_hostile_manifest_is_read_or_a_bundle_error(
    changes: list[tuple[tuple[str | int, ...], str, Any]],
) -> None:
    body = json.loads(BODY)
    for path, action, value in changes:
        try:
            parent = body
            for step in path[:-1]:
                parent = parent[step]
            if action == "set":
                parent[path[-1]] = value
            elif action == "delete":
                del parent[path[-1]]
            elif isinstance(parent, list):
                parent.insert(0, value)
            else:
                parent["more"] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier change removed the place
    manifest = _manifest_or_error(seal_json("manifest", body)[0])
    if isinstance(manifest, BundleError):
        assert str(manifest).isprintable()
        assert len(str(manifest)) < 1000
        return
    assert parse_manifest(seal_json("manifest", encode(manifest), indent=1)[0])[0] == manifest


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_as_a_manifest_are_a_bundle_error(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(data)


@pytest.mark.parametrize("shape", [b"[],", b"{},", b'{"a":1},', b'"ab",', b"1.5,", b'["", ""],'])
def test_memory_for_the_worst_manifest_is_bounded(shape: bytes) -> None:
    """As many entries as are parsed at all take less than 200 MB, measured in a child."""
    marks = sum(shape.count(mark) for mark in (b",", b":", b"[", b"{"))
    repeats = min(MAX_MANIFEST_BYTES // len(shape), MAX_ENTRIES // marks) - 10
    text = b'{"schema":1,"x":[' + shape * repeats + b"1]}\n"
    data = b'{"digest":"%s","manifest":\n' % hashlib.sha256(text).hexdigest().encode()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refusal = _manifest_or_error(data + text + b"}\n")
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        known = isinstance(refusal, BundleError) and "x: is not a known key" in refusal.message
        os._exit(0 if known and used < 200_000 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

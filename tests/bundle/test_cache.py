"""The device cache trusts only what was written for this bundle, device and name."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from edgeexit.bundle import DeviceCache, cache_root
from edgeexit.errors import ResourceError

DIGEST = "ab" * 32
DEVICE = "openvino 2026 | cpu | 2 threads"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.setenv("EDGEEXIT_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "edgeexit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "edgeexit"


def test_an_entry_comes_back_for_its_own_bundle_device_and_name(root: Path) -> None:
    cache = DeviceCache(DIGEST, DEVICE)
    assert cache.read_json("profile") is None
    assert not root.exists()
    cache.write_json("profile", {"ms": [0.25, 1.0]})
    assert DeviceCache(DIGEST, DEVICE).read_json("profile") == {"ms": [0.25, 1.0]}
    assert cache.read_json("other") is None
    assert DeviceCache("cd" * 32, DEVICE).read_json("profile") is None
    assert DeviceCache(DIGEST, f"{DEVICE} | amx").read_json("profile") is None
    assert (root / "bundles").stat().st_mode & 0o002 == 0


def test_an_entry_moved_from_elsewhere_is_not_trusted() -> None:
    source, target = DeviceCache(DIGEST, "old engine"), DeviceCache(DIGEST, "new engine")
    source.write_json("profile", {"ms": [1.0]})
    target.write_json("other", {})
    data = (source.folder / "profile.json").read_bytes()
    (target.folder / "profile.json").write_bytes(data)
    (source.folder / "renamed.json").write_bytes(data)
    assert target.read_json("profile") is None
    assert source.read_json("renamed") is None
    assert source.read_json("profile") == {"ms": [1.0]}


def test_no_damaged_entry_is_trusted() -> None:
    cache = DeviceCache(DIGEST, DEVICE)
    cache.write_json("profile", {"ms": [0.25, 1.0]})
    path = cache.folder / "profile.json"
    good = path.read_bytes()
    rng = random.Random(0)
    for _ in range(500):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data if rng.random() < 0.8 else data[: rng.randrange(len(data))])
        assert cache.read_json("profile") is None
    cache.write_json("profile", {"ms": [2.0]})
    assert cache.read_json("profile") == {"ms": [2.0]}


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", ".x", "a.b", "x\n"])
def test_a_name_that_is_no_plain_word_is_a_bug_of_the_caller(name: str) -> None:
    cache = DeviceCache(DIGEST, DEVICE)
    with pytest.raises(ValueError, match="is no name of a cache entry"):
        cache.write_json(name, {})
    with pytest.raises(ValueError, match="is no name of a cache entry"):
        cache.read_json(name)


def test_a_cache_that_cannot_be_made_is_a_resource_error(root: Path) -> None:
    root.write_text("a file where the folder should be")
    with pytest.raises(ResourceError, match="cannot be written"):
        DeviceCache(DIGEST, DEVICE).write_json("profile", {})


def test_one_builds_and_others_wait() -> None:
    cache = DeviceCache(DIGEST, DEVICE)
    reading, writing = os.pipe()
    with cache.lock():
        child = os.fork()
        if child == 0:
            with DeviceCache(DIGEST, DEVICE).lock():
                found = DeviceCache(DIGEST, DEVICE).read_json("engine")
            os.write(writing, str(found).encode())
            os._exit(0)
        cache.write_json("engine", "built")
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"built"

"""The shared file of kernel times: whole, ours, or not used."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeexit.targets.tensorrt.timing import read_timings, write_timings

TIMES = bytes(range(256)) * 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "timings" / "device.bin"


def test_times_come_back(path: Path) -> None:
    assert read_timings(path) == (b"", "")
    assert write_timings(path, TIMES) == ""
    assert read_timings(path) == (TIMES, "")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert write_timings(path, b"newer") == ""
    assert read_timings(path) == (b"newer", "")


@pytest.mark.parametrize("position", [0, 20, 60, -1])
def test_damaged_times_are_ignored_with_a_note(path: Path, position: int) -> None:
    write_timings(path, TIMES)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert read_timings(path) == (b"", f"the timing cache {path} is ignored: it is damaged")


@pytest.mark.parametrize("data", [b"", b"edgeexit timings 1\n", TIMES])
def test_what_is_no_timing_cache_is_ignored(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_bytes(data)
    times, note = read_timings(path)
    assert times == b""
    assert note.endswith("it is damaged")


def test_times_that_others_could_have_written_are_ignored(path: Path) -> None:
    write_timings(path, TIMES)
    path.parent.chmod(0o777)
    times, note = read_timings(path)
    assert times == b""
    assert "others may write to it (mode 777)" in note


def test_a_link_is_ignored(path: Path, tmp_path: Path) -> None:
    write_timings(path, TIMES)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert read_timings(path) == (b"", f"the timing cache {path} is ignored: it is a link")


def test_times_that_cannot_be_kept_are_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    note = write_timings(tmp_path / "file" / "device.bin", TIMES)
    assert "is not kept" in note
    assert [found.name for found in tmp_path.iterdir()] == ["file"]

"""Writes that fail, are killed, or meet another: the old bundle or the new one, never a part."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeexit.bundle import Bundle, BundleWriter, swap
from edgeexit.bundle.swap import aside_path, swap_in
from edgeexit.errors import BundleError, EdgeExitError, ResourceError
from tests.bundle.fake_bundle import fake_family, fake_manifest, fill, use, write_fake

ROOT = Path(__file__).parents[2]


def _start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _in_child(work: Callable[[], object], limit: int) -> tuple[str, str]:
    """Return code and message of the error that ``work`` ends in where no file may pass a size."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        text = "none\n"
        try:
            work()
        except EdgeExitError as error:
            text = f"{error.code}\n{error.message}"
        except BaseException as error:
            text = f"{type(error).__name__}\n{error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        code, _, message = pipe.read().partition("\n")
    os.waitpid(child, 0)
    return code, message


def test_a_full_disk_at_every_size_leaves_the_old_bundle(tmp_path: Path) -> None:
    old = write_fake(tmp_path / "m.eex", seed=0)
    largest = max(entry.size for entry in old.manifest.files)
    largest = max(largest, (old.folder / "manifest.json").stat().st_size)
    for limit in range(0, largest, largest // 12):
        code, message = _in_child(lambda: write_fake(tmp_path / "m.eex", seed=1), limit)
        assert code == "resource.disk-full", (limit, message)
        assert "m.eex cannot be written: File too large" in message
        assert Bundle.open(tmp_path / "m.eex").digest == old.digest
        assert sorted(path.name for path in tmp_path.iterdir()) == [".m.eex.lock", "m.eex"]
    assert _in_child(lambda: write_fake(tmp_path / "m.eex", seed=1), largest)[0] == "none"
    assert Bundle.open(tmp_path / "m.eex").digest != old.digest


def test_a_full_disk_leaves_the_old_exits(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    bundle.write_exits(fake_family(bundle))
    newer = fake_family(bundle, samples=7)
    for limit in (0, 1, 300):
        code, message = _in_child(lambda: bundle.write_exits(newer), limit)
        assert code == "resource.disk-full", message
        exits = Bundle.open(bundle.folder).exits()
        assert exits is not None
        assert exits.samples == 1000
        assert not list(bundle.folder.glob(".edgeexit-*"))


def test_an_os_error_out_of_the_block_is_a_resource_error(tmp_path: Path) -> None:
    """What other rooms write into the folder fails with a plain OSError."""
    with (
        pytest.raises(ResourceError, match="No space left on device") as error,
        BundleWriter(tmp_path / "m.eex") as writer,
        writer.path("graphs/x").open("wb", buffering=0),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert error.value.code == "resource.disk-full"
    assert error.value.exit_code == 8
    assert [path.name for path in tmp_path.iterdir()] == [".m.eex.lock"]


def _write_until(interruption: type[BaseException], output: Path) -> None:
    with BundleWriter(output) as writer:
        fill(writer, seed=1)
        raise interruption


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interruption_removes_the_folder_and_keeps_the_old(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    old = write_fake(tmp_path / "m.eex")
    with pytest.raises(interruption):
        _write_until(interruption, tmp_path / "m.eex")
    assert Bundle.open(tmp_path / "m.eex").digest == old.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.eex.lock", "m.eex"]


WRITE_FOR_EVER = """
import sys
from pathlib import Path
from tests.bundle.fake_bundle import fake_family, write_fake
seed = int(sys.argv[2])
print("ready", flush=True)
while True:
    seed += 1
    bundle = write_fake(Path(sys.argv[1]), seed)
    bundle.write_exits(fake_family(bundle))
"""


def test_a_kill_at_any_time_leaves_a_whole_bundle(tmp_path: Path) -> None:
    output = tmp_path / "m.eex"
    write_fake(output)
    rng = random.Random(7)
    for number in range(20):
        process = _start(WRITE_FOR_EVER, output, number * 1000)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        use(output)
    after = write_fake(output, seed=5)
    assert Bundle.open(output).digest == after.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.eex.lock", "m.eex"]


def _stop_after(monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """Let the process end after some renames of a swap in two steps, or before its last removal."""
    done = 0
    original, remove = Path.rename, shutil.rmtree

    def rmtree(path: Path, *, ignore_errors: bool) -> None:
        if done:
            os._exit(9)
        remove(path, ignore_errors=ignore_errors)

    def rename(self: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            os._exit(9)
        done += 1
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(shutil, "rmtree", rmtree)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_crash_between_the_two_renames_is_mended_by_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    output = tmp_path / "m.eex"
    old = write_fake(output)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(swap, "_exchange", lambda first, second: False)
        _stop_after(monkeypatch, renames)
        with BundleWriter(output) as writer:
            fill(writer, seed=1)
            writer.seal(fake_manifest())
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert output.exists() == (renames != 1)
    assert aside_path(output).exists() == (renames > 0)
    assert (Bundle.open(output).digest == old.digest) == (renames < 2)
    newest = write_fake(output, seed=2)
    assert Bundle.open(output).digest == newest.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.eex.lock", "m.eex"]


def test_a_failed_second_rename_puts_the_old_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_fake(tmp_path / "m.eex")
    monkeypatch.setattr(swap, "_exchange", lambda first, second: False)
    with pytest.raises(FileNotFoundError):
        swap_in(tmp_path / "not-there", tmp_path / "m.eex")
    assert Bundle.open(tmp_path / "m.eex").digest == old.digest


WRITE_TEN = """
import sys
from pathlib import Path
from tests.bundle.fake_bundle import write_fake
for round in range(10):
    write_fake(Path(sys.argv[1]), int(sys.argv[2]))
"""


def test_two_writers_at_once_and_a_reader(tmp_path: Path) -> None:
    output = tmp_path / "m.eex"
    digests = {write_fake(tmp_path / f"{seed}.eex", seed).digest for seed in (1, 2)}
    write_fake(output, 1)
    writers = [_start(WRITE_TEN, output, seed) for seed in (1, 2)]
    reads = 0
    while any(writer.poll() is None for writer in writers):
        assert Bundle.open(output).digest in digests
        reads += 1
    for writer in writers:
        assert writer.communicate() == ("", "")
        assert writer.returncode == 0
    assert Bundle.open(output).digest in digests
    assert reads > 0
    assert not list(tmp_path.glob(".m.eex.new-*"))


def test_a_second_writer_waits_no_longer_than_asked(tmp_path: Path) -> None:
    output = tmp_path / "m.eex"
    with BundleWriter(output) as writer:
        with (
            pytest.raises(ResourceError, match="being written by another process") as error,
            BundleWriter(output, timeout=0.05),
        ):
            pytest.fail("both writers hold the lock")
        assert error.value.code == "resource.locked"
        fill(writer)
        writer.seal(fake_manifest())
    use(output)


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_an_output_that_is_no_bundle_is_left_alone(tmp_path: Path, kind: str) -> None:
    output = tmp_path / "m.eex"
    if kind == "folder":
        output.mkdir()
        (output / "thesis.tex").write_text("years of work")
        (output / "manifest.json").write_text('{"another": "tool"}')
    elif kind == "file":
        output.write_text("years of work")
    else:
        output.symlink_to(tmp_path / "nowhere.eex")
        use(write_fake(output).folder)
        assert (tmp_path / "nowhere.eex").is_dir()
        return
    with pytest.raises(BundleError, match="exists and is no bundle; it is left alone"):
        write_fake(output)
    kept = output / "thesis.tex" if kind == "folder" else output
    assert kept.read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["m.eex"]


def test_a_damaged_bundle_and_an_empty_folder_may_be_replaced(tmp_path: Path) -> None:
    output = tmp_path / "m.eex"
    output.mkdir()
    bundle = write_fake(output)
    (bundle.folder / "graphs/weights.bin").unlink()
    with pytest.raises(BundleError):
        Bundle.open(output)
    write_fake(output)
    use(output)
    with pytest.raises(BundleError, match="already exists"), BundleWriter(output, overwrite=False):
        pytest.fail("the bundle would be replaced")


def test_missing_parents_are_made(tmp_path: Path) -> None:
    use(write_fake(tmp_path / "a" / "b" / "m.eex").folder)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that users other than root can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o755)
    shutil.rmtree(folder)


def _as_nobody(work: Callable[[], object]) -> tuple[str, str]:
    def drop() -> None:
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        work()

    return _in_child(drop, resource.RLIM_INFINITY)


def test_a_read_only_bundle_is_read_and_not_written(open_folder: Path) -> None:
    bundle = write_fake(open_folder / "m.eex")
    family = fake_family(bundle)
    bundle.write_exits(family)
    for parent, _, _ in os.walk(open_folder):
        Path(parent).chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
    assert _as_nobody(lambda: use(bundle.folder)) == ("none", "")
    code, message = _as_nobody(lambda: bundle.write_exits(family))
    assert code == "resource.read-only"
    assert "exits.json cannot be written: Permission denied" in message
    code, message = _as_nobody(lambda: write_fake(open_folder / "m.eex", seed=1))
    assert code == "resource.read-only", message
    assert Bundle.open(bundle.folder).digest == bundle.digest


def test_a_file_that_may_not_be_read_is_a_bundle_error(open_folder: Path) -> None:
    bundle = write_fake(open_folder / "m.eex")
    (bundle.folder / "README.md").chmod(0)
    code, message = _as_nobody(lambda: use(bundle.folder))
    assert (code, message) == ("bundle.file", "README.md: cannot be opened (Permission denied).")

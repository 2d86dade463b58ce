"""No room on the disk, at every size of file: the old file stays, and nothing is left beside it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import clean_environment
from tests.faults.commands import ROOT
from tests.faults.counts import count
from tests.runtime.families import make_family
from tests.runtime.toy import write_bundle

WRITERS = """
import json, resource, sys
from pathlib import Path
from edgeexit import Bundle, ResourceError, Runtime
from edgeexit.runtime.energy import keep_energy
from edgeexit.runtime.profile import measure_profile
from tests.runtime.families import make_family
from tests.runtime.toy import make_inputs

place, kind, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
bundle = Bundle.open(place / "toy.eex")
runtime = Runtime(bundle, threads=1)
with runtime.profile() as profile:
    for _ in range(20):
        runtime(make_inputs(3))
cache = runtime.machine.cache
stats, family = runtime.stats(), make_family(bundle, samples=7)
file, write = {
    "stats": (place / "stats.prom", lambda: stats.write_prometheus(place / "stats.prom")),
    "trace": (place / "trace.json", lambda: profile.save_trace(place / "trace.json")),
    "exits": (place / "toy.eex" / "exits.json", lambda: bundle.write_exits(family)),
    "cache": (None, lambda: cache.write_json("probe", {"values": list(range(500))})),
}[kind]
write()
if file is None:
    file = next(path for path in place.rglob("probe*") if path.is_file())
size = file.stat().st_size
old = b"old" if kind in ("stats", "trace") else file.read_bytes()
tried = refused = 0
for limit in [0, 1, *range(2, size, max(1, size // steps)), size - 1]:
    file.write_bytes(old)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write()
    except ResourceError as error:
        assert error.code == "resource.disk-full", error.code
        assert file.name in error.message and "File too large" in error.message, error
        refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    tried += 1
    assert file.read_bytes() == old
    left = [path.name for path in file.parent.iterdir() if path.name.startswith(".edgeexit-")]
    assert not left, left
write()
assert file.stat().st_size == size
print(json.dumps([tried, refused]))
"""


@pytest.mark.parametrize("kind", ["stats", "trace", "exits", "cache"])
def test_no_room_at_any_size_keeps_the_old_file(tmp_path, kind):
    bundle = write_bundle(tmp_path)
    bundle.write_exits(make_family(bundle))
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, tmp_path, kind, str(count(20, 2000))],
        cwd=ROOT,
        env=clean_environment(PYTHONPATH=str(ROOT), EDGEEXIT_CACHE=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tried, refused = json.loads(done.stdout)
    assert tried == refused >= 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "file"),
    [
        (
            ("calibrate", "model.eex", "--data", "data.npz", "--budget", "0.6"),
            "model.eex/exits.json",
        ),
        (("report", "model.eex", "-o", "page.html"), "page.html"),
    ],
    ids=["calibrate", "report"],
)
def test_a_command_without_room_is_one_line(edgeexit, work, words, file):
    (work / "page.html").write_text("old")
    old = (work / file).read_bytes()

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = edgeexit(*words, preexec_fn=limited)
    done.failed(8, Path(file).name, "File too large")
    assert (work / file).read_bytes() == old
    assert not list(work.rglob(".edgeexit-*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("verb", ["run", "inspect"])
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_full_disk_behind_stdout(edgeexit, work, verb, more):
    words = [verb, "model.eex", *(["--input", "data.npz"] if verb == "run" else []), *more]
    with Path("/dev/full").open("w") as full:
        done = edgeexit(*words, stdout=full)
    done.failed(8, os.strerror(28))

"""Less and less memory: a ResourceError in one line, nothing partial, and the runtime goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from edgeexit.bundle.bundle import Bundle
from edgeexit.errors import ResourceError, is_out_of_memory
from edgeexit.targets.faults import engine_refusal, not_loaded, unavailable
from tests.cli.conftest import clean_environment, contents
from tests.faults.commands import ROOT, Commands, copy_work, leftovers
from tests.faults.counts import count
from tests.runtime.families import make_family
from tests.runtime.toy import write_bundle

MEBIBYTE = 1 << 20
MOST = 1000
"""MiB beyond what the imports took: enough for everything but OpenVINO."""

LIMITS = [int(MOST * (number / count(6, 50)) ** 2) for number in range(count(6, 50))]
"""Closer together where less is left."""

VERBS = {
    "compile": ("compile", "model.onnx", "--precision", "f32"),
    "calibrate": ("calibrate", "model.eex", "--data", "data.npz", "--budget", "0.7"),
    "run": ("run", "model.eex", "--input", "data.npz"),
    "run on OpenVINO": ("run", "model.eex", "--input", "data.npz", "--target", "x86"),
}
ABORTED = (-signal.SIGABRT, -signal.SIGSEGV)
"""An engine found no memory in its own C++ and ended the process for it: nobody can catch that."""


@pytest.fixture(scope="module")
def place(made, tmp_path_factory):
    folder = copy_work(made, tmp_path_factory.mktemp("memory") / "work")
    with Commands(folder) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("verb", VERBS)
def test_a_command_ends_in_one_line_and_leaves_nothing(place, verb):
    refused = 0
    for limit in LIMITS:
        before = contents(place.folder / "model.eex")
        ran = place.run(*VERBS[verb], memory=limit * MEBIBYTE)
        assert not ran.left, (limit, ran)
        assert ran.late < 60, (limit, ran)
        assert leftovers(place.folder) == set() or ran.code in ABORTED, limit
        bundle = Bundle.open(place.folder / "model.eex")
        bundle.exits()
        if ran.code == 0:
            continue
        assert contents(place.folder / "model.eex") == before
        refused += 1
        if ran.code in ABORTED:
            continue
        assert ran.code == ResourceError.exit_code, (limit, ran)
        assert "Traceback" not in ran.stderr, (limit, ran)
        error, hint = ran.stderr.splitlines()[-2:]
        assert error.startswith("error: "), (limit, ran)
        assert "memory" in error + hint, (limit, ran)
    assert refused >= 1
    ran = place.run(*VERBS[verb])
    assert ran.code == 0, ran


SQUEEZED = """
import resource, sys
import numpy as np
from edgeexit import ResourceError, Runtime
from tests.runtime.toy import make_inputs

folder, device, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
runtime = Runtime(folder, target=device, threads=1)
small, large = make_inputs(3), make_inputs(200_000)
wanted = runtime(small).logits
pages = int(open("/proc/self/statm").read().split()[0])
used = pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
refused = 0
for _ in range(3):
    try:
        runtime(large)
    except (MemoryError, ResourceError, SystemError):  # the last is NumPy's, of its own bug
        refused += 1
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert np.array_equal(runtime(small).logits, wanted)
assert len(runtime(make_inputs(5000)).exits) == 5000
runtime.close()
print(refused)
"""


def test_a_runtime_goes_on_after_a_call_without_memory(tmp_path):
    """On ONNX Runtime: the call fails alone, and the next one answers as before."""
    bundle = write_bundle(tmp_path)
    bundle.write_exits(make_family(bundle))
    refused = 0
    for room in (0, 4):
        done = subprocess.run(
            [sys.executable, "-c", SQUEEZED, bundle.folder, "cpu", str(room * MEBIBYTE)],
            cwd=ROOT,
            env=clean_environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (room, done.stderr)
        refused += int(done.stdout)
    assert refused == 6


HONEST = """
import os, resource, sys
import numpy as np
from edgeexit import ResourceError, Runtime
from tests.runtime.toy import make_inputs, reference

folder, device, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
runtime = Runtime(folder, target=device, threads=1)
runtime(make_inputs(3))
work = [make_inputs(rows) for rows in (5, 17, 64, 5)]
wanted = [reference(inputs) for inputs in work]
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + room
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
refused = 0
for inputs, answers in zip(work, wanted):
    try:
        found = runtime.all_exits(inputs).logits
    except (MemoryError, ResourceError):
        refused += 1
        continue
    for k, logits in enumerate(found, 1):
        assert np.abs(logits - answers[f"logits{k}"]).max() < 1e-4, "a wrong answer"
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(refused, flush=True)
# OpenVINO does not always survive to be closed in good order after this.
os._exit(0)
"""


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_without_memory_an_answer_is_right_or_refused(tmp_path, device):
    """OpenVINO 2026.4 leaves its outputs as they were, zeros, and says nothing of it."""
    bundle = write_bundle(tmp_path)
    refused = 0
    for room in (0, MEBIBYTE, 8 * MEBIBYTE, 64 * MEBIBYTE):
        done = subprocess.run(
            [sys.executable, "-c", HONEST, bundle.folder, device, str(room)],
            cwd=ROOT,
            env=clean_environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0 or done.returncode in ABORTED, (room, done.stderr)
        refused += int(done.stdout or 1)
    assert refused >= (3 if device == "x86" else 0)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
        RuntimeError("pthread_create failed, error code: 12 error msg: Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        ImportError("libx.so: failed to map segment from shared object"),
        OSError(12, os.strerror(12)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_each_word_for_no_memory_is_a_resource_error(error):
    assert is_out_of_memory(error)
    found = engine_refusal("the engine refused stage-1.onnx", error)
    assert isinstance(found, ResourceError)
    assert found.code == "resource.memory"
    assert found.message == "the engine refused stage-1.onnx: the machine ran out of memory."
    missing = unavailable(not_loaded("onnxruntime", error))
    assert isinstance(missing, ResourceError)
    assert "free some memory" in missing.hint
    assert not is_out_of_memory(ValueError("another shape"))


def test_an_interruption_in_an_import_is_no_missing_engine():
    """A binding in C++ makes an ImportError of it; the interruption goes on as what it is."""
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        not_loaded("onnxruntime", error)

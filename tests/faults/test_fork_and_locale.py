"""A fork after a runtime was opened, and a locale that writes 0,5: an error or the same bits."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys

import pytest

from edgeexit.errors import ResourceError
from edgeexit.runtime.runtime import Runtime
from tests.cli.conftest import clean_environment
from tests.faults.commands import ROOT
from tests.runtime.families import make_family
from tests.runtime.toy import make_inputs, write_bundle

FORKED = """
import os, sys
import numpy as np
from edgeexit import ResourceError, Runtime
from tests.runtime.toy import make_inputs

folder, device = sys.argv[1:]
runtime = Runtime(folder, target=device, threads=1)
inputs = make_inputs(3)
wanted = runtime(inputs).logits
child = os.fork()
if child == 0:
    told = 0
    for call in (runtime, runtime.all_exits, lambda x: next(runtime.stream([x]))):
        try:
            call(inputs)
        except ResourceError as error:
            assert error.code == "runtime.forked", error.code
            assert str(os.getpid()) in error.message, error.message
            told += 1
    runtime.close()
    os._exit(40 + told)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 43
assert np.array_equal(runtime(inputs).logits, wanted)
runtime.close()
# The way that is right: fork first, open in the child.
child = os.fork()
if child == 0:
    os.execv(sys.executable, [sys.executable, "-c", OPENED, folder, device])
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
OPENED = """
import sys
from edgeexit import Runtime
from tests.runtime.toy import make_inputs
with Runtime(sys.argv[1], target=sys.argv[2], threads=1) as runtime:
    assert len(runtime(make_inputs(3)).exits) == 3
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    bundle = write_bundle(tmp_path_factory.mktemp("fork"))
    bundle.write_exits(make_family(bundle))
    return bundle


def _python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=clean_environment(PYTHONPATH=str(ROOT), **environment),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_a_fork_is_told_to_open_its_own_and_may(bundle, device):
    done = _python(f"OPENED = {OPENED!r}\n{FORKED}", bundle.folder, device)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    """The environment of a locale with a decimal comma: the system's, or one that is made here."""
    folder = tmp_path_factory.mktemp("locale")
    for name in ("de_DE.UTF-8", "de_DE.utf8", "de_DE"):
        try:
            before = locale.setlocale(locale.LC_ALL)
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_ALL, before)
        return {"LC_ALL": name}
    if shutil.which("localedef") is None:
        pytest.skip("there is no de_DE, and no localedef to make one")
    words = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
    made = subprocess.run(words, capture_output=True, timeout=60, check=False)
    if not (folder / "de_DE.UTF-8" / "LC_NUMERIC").exists():
        pytest.skip(f"localedef cannot make de_DE: {made.stderr.decode()[:100]}")
    return {"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(folder)}


ANSWER = """
import locale, sys
locale.setlocale(locale.LC_ALL, "")
from edgeexit import Runtime
from tests.runtime.toy import make_inputs
print(locale.localeconv()["decimal_point"])
with Runtime(sys.argv[1], 0.6, target=sys.argv[2], threads=1) as runtime:
    result = runtime(make_inputs(50))
    print(result.logits.tobytes().hex(), result.exits.tolist(), result.scores.tobytes().hex())
    print(runtime.stats().to_json().split('"call_ms"')[0])
    print(runtime.budget)
"""


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_a_decimal_comma_changes_no_bit(bundle, german, device):
    plain = _python(ANSWER, bundle.folder, device, LC_ALL="C.UTF-8")
    comma = _python(ANSWER, bundle.folder, device, **german)
    assert (plain.returncode, comma.returncode) == (0, 0), plain.stderr + comma.stderr
    (first, *answers), (second, *others) = plain.stdout.splitlines(), comma.stdout.splitlines()
    assert (first, second) == (".", ",")
    assert others == answers


def test_the_commands_under_a_decimal_comma(edgeexit, work, german):
    """Compile, calibrate and run: the same files but for the day, and the same words."""
    texts = {}
    for name, environment in (("plain", {"LC_ALL": "C.UTF-8"}), ("comma", german)):
        output = work / f"{name}.eex"
        calibrate = ["calibrate", output, "--data", "data.npz", "--budget", "0.7", "--json"]
        for words in (["compile", "model.onnx", "-o", output, "--precision", "f32"], calibrate):
            done = edgeexit(*words, **environment)
            assert done.code == 0, done.stderr
        graphs = [path.read_bytes() for path in sorted(output.rglob("*.onnx"))]
        thresholds = done.json
        run = edgeexit("run", output, "--input", "data.npz", **environment)
        assert run.code == 0, run.stderr
        texts[name] = (graphs, thresholds["point"], run.stdout)
    assert texts["plain"] == texts["comma"]


def test_the_error_of_a_fork_names_both_processes(bundle):
    with Runtime(bundle, threads=1) as runtime:
        runtime._pid = 1
        with pytest.raises(ResourceError, match="opened by process 1, and process") as caught:
            runtime(make_inputs(1))
        runtime._pid = os.getpid()
    assert caught.value.hint == "open the bundle in the process that uses it."

"""Results on stdout, all else on stderr; errors in two lines; bugs with a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from edgeexit.cli.failure import guarded
from edgeexit.cli.reply import Table, plain

VERBS = (
    "tune", "compile", "build", "calibrate", "run", "profile", "bench", "report", "inspect",
    "verify", "targets", "doctor", "demo",
)  # fmt: skip


def test_help_lists_the_verbs_and_loads_nothing_heavy():
    script = (
        "import sys\nfrom edgeexit.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit as stop: assert stop.code == 0\n"
        "assert not {'numpy', 'onnx', 'torch', 'rich', 'edgeexit.bundle.bundle'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    listed = [
        line.split()[0]
        for line in done.stdout.partition("Verbs:")[2].splitlines()[1 : len(VERBS) + 1]
    ]
    assert listed == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(edgeexit, verb):
    done = edgeexit(verb, "--help")
    assert done.code == 0
    assert "--json" in done.stdout


def test_json_alone_on_stdout_and_steps_on_stderr(edgeexit, work):
    done = edgeexit("compile", "model.onnx", "--json")
    assert done.code == 0
    assert done.json["name"] == "model"
    assert "slicing" in done.stderr.splitlines()


def test_quiet_leaves_stderr_empty(edgeexit, work):
    done = edgeexit("calibrate", "model.eex", "--data", "data.npz", "-q")
    assert (done.code, done.stderr) == (0, "")


def test_what_an_engine_prints_does_not_reach_stdout(edgeexit, work):
    (work / "loud.py").write_text(
        "import os, numpy\n"
        "def data():\n"
        "    print('from python')\n"
        "    os.write(1, b'from below\\n')\n"
        "    return dict(numpy.load('data.npz'))\n"
    )
    done = edgeexit("calibrate", "model.eex", "--data", "loud:data", "--json")
    assert done.json["samples"] == 800
    assert "from python" in done.stderr
    assert "from below" in done.stderr


def test_an_error_with_json_is_an_object_too(edgeexit):
    done = edgeexit("inspect", "nowhere.eex", "--json").failed(5, "nowhere.eex")
    error = done.json["error"]
    assert (error["code"], error["exit_code"]) == ("bundle.missing", 5)
    assert f"error: {error['message']}" in done.stderr


@pytest.mark.parametrize("environment", [{}, {"EDGEEXIT_DEBUG": "1"}])
def test_debug_shows_the_traceback_of_an_error(edgeexit, environment):
    words = ["inspect", "nowhere.eex"] + ([] if environment else ["--debug"])
    done = edgeexit(*words, **environment)
    assert done.code == 5
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("words", [["fly"], ["compile"], ["run", "x.eex", "--speed", "9"]])
def test_wrong_usage_is_exit_code_2(edgeexit, words):
    edgeexit(*words).failed(2, "--help")


def test_a_bug_shows_its_traceback_and_asks_for_a_report(capsys):
    def bug():
        raise KeyError("broken")

    assert guarded(bug, []) == 70
    stderr = capsys.readouterr().err
    assert "Traceback" in stderr
    assert "error: a bug in edgeexit" in stderr
    assert stderr.splitlines()[-1] == "hint: please report it, with the lines above."


def test_out_of_memory_is_a_resource_error(capfd):
    def greedy():
        raise MemoryError

    assert guarded(greedy, ["--json"]) == 8
    assert json.loads(capfd.readouterr().out)["error"]["code"] == "resource.memory"


def test_a_closed_pipe_is_silent(made):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "edgeexit.cli", "inspect", str(made / "model.eex")],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_plain_table_is_aligned():
    table = Table(
        ("name", "n", "word"), [("a", "1", "x"), ("bcdef", "200", "yz")], "title", ("word",)
    )
    assert plain(table).splitlines() == [
        "title",
        "name     n  word",
        "a        1  x",
        "bcdef  200  yz",
    ]

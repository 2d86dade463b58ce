"""What a user can get wrong: two lines, an exit code, and the old output untouched."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

from tests.cli.conftest import TIMEOUT, clean_environment, contents
from tests.cli.models import write_model

INPUT, MODEL, BUNDLE, TARGET, BUDGET, RESOURCE = 3, 4, 5, 6, 7, 8


class TestCompile:
    @pytest.fixture(autouse=True)
    def _untouched(self, work):
        before = contents(work / "model.eex")
        yield
        assert contents(work / "model.eex") == before
        assert _leftovers(work) == set()

    def test_a_missing_file(self, edgeexit):
        edgeexit("compile", "nowhere.onnx", "-o", "model.eex").failed(MODEL, "nowhere.onnx")

    def test_a_file_that_is_not_onnx(self, edgeexit, work):
        (work / "text.onnx").write_text("these are words")
        edgeexit("compile", "text.onnx", "-o", "model.eex").failed(MODEL, "text.onnx", "ONNX")

    def test_a_truncated_file(self, edgeexit, work):
        whole = (work / "model.onnx").read_bytes()
        (work / "model.onnx").write_bytes(whole[: len(whole) // 2])
        edgeexit("compile", "model.onnx").failed(MODEL, "model.onnx", "truncated")

    def test_a_model_with_a_single_output_is_told_what_a_multi_exit_model_is(self, edgeexit, work):
        write_model(work / "model.onnx", widths=(4,))
        edgeexit("compile", "model.onnx").failed(MODEL, "one exit", "multi-exit", "--exits")

    def test_a_gate_that_cannot_compare_these_exits(self, edgeexit, work):
        write_model(work / "model.onnx", widths=(4, 5, 4))
        edgeexit("compile", "model.onnx").failed(MODEL, "statistics", "[4, 5, 4]", "--gate")

    def test_an_unknown_exit(self, edgeexit):
        words = ("--exits", "exit_1,exit_9")
        edgeexit("compile", "model.onnx", *words).failed(MODEL, "exit_9")

    def test_an_unknown_device(self, edgeexit):
        edgeexit("compile", "model.onnx", "--target", "abacus").failed(TARGET, "abacus", "cpu")

    def test_int8_without_data(self, edgeexit):
        edgeexit("compile", "model.onnx", "--precision", "int8").failed(INPUT, "--quant-data")

    def test_an_input_shape_that_is_none(self, edgeexit):
        words = ("--input-shape", "x:1,8")
        edgeexit("compile", "model.onnx", *words).failed(INPUT, "x:1,8", "--input-shape image=")

    @pytest.mark.parametrize("sizes", [("x=1,2",), ("x=1,2,3", "x=1,4,8")])
    def test_a_range_that_is_none_or_given_twice(self, edgeexit, sizes):
        words = [word for size in sizes for word in ("--range", size)]
        edgeexit("compile", "model.onnx", *words).failed(INPUT, "--range", "x")

    def test_answers_that_are_no_numbers(self, edgeexit, work):
        model = onnx.load(work / "model.onnx")
        next(node for node in model.graph.node if node.name == "relu_2").op_type = "Log"
        onnx.save(model, work / "log.onnx")
        edgeexit("compile", "log.onnx").failed(
            MODEL, "exit 'exit_2' answers NaN or infinity on onnxruntime", "logarithms"
        )

    def test_a_file_in_the_place_of_the_bundle(self, edgeexit, work):
        (work / "taken.eex").write_text("mine")
        edgeexit("compile", "model.onnx", "-o", "taken.eex").failed(BUNDLE, "taken.eex")
        assert (work / "taken.eex").read_text() == "mine"
        (work / "taken.eex").unlink()

    @pytest.mark.parametrize("limit", [100, 2_000])
    def test_a_full_disk(self, edgeexit, limit):
        edgeexit("compile", "model.onnx", preexec_fn=_limit_files(limit)).failed(RESOURCE)


class TestCalibrate:
    @pytest.fixture(autouse=True)
    def _untouched(self, work):
        before = contents(work / "model.eex")
        yield
        assert contents(work / "model.eex") == before

    def calibrate(self, edgeexit, work, *words, **arrays):
        if arrays:
            with np.load(work / "data.npz") as data:
                np.savez(work / "bad.npz", **{**data, **arrays})
        source = "bad.npz" if arrays else "data.npz"
        return edgeexit("calibrate", "model.eex", "--data", source, *words)

    def test_data_that_do_not_exist(self, edgeexit):
        words = ("calibrate", "model.eex", "--data", "nowhere.npz")
        edgeexit(*words).failed(INPUT, "nowhere.npz")

    def test_wrong_keys(self, edgeexit, work):
        np.savez(work / "bad.npz", image=np.zeros((50, 8), np.float32), y=np.zeros(50, np.int64))
        words = ("calibrate", "model.eex", "--data", "bad.npz")
        edgeexit(*words).failed(INPUT, "['image']", "['x']")

    def test_labels_out_of_range(self, edgeexit, work):
        y = np.zeros(800, np.int64)
        y[7] = 4
        self.calibrate(edgeexit, work, y=y).failed(INPUT, "label 4 of sample 7", "0 to 3")

    def test_nan_in_the_data(self, edgeexit, work):
        x = np.zeros((800, 8), np.float32)
        x[3, 5] = np.nan
        self.calibrate(edgeexit, work, x=x).failed(INPUT, "nan", "(3, 5)")

    def test_a_pickle(self, edgeexit, work):
        x = np.empty(800, dtype=object)
        self.calibrate(edgeexit, work, x=x).failed(INPUT, "bad.npz")

    @pytest.mark.parametrize("budget", ["0.01", "7"])
    def test_a_budget_out_of_bounds_names_both(self, edgeexit, work, budget):
        done = self.calibrate(edgeexit, work, "--budget", budget)
        done.failed(BUDGET, "0.342", "1.32")

    @pytest.mark.parametrize("budget", ["half", "-1", "8kg", "nan"])
    def test_a_budget_that_is_none(self, edgeexit, work, budget):
        self.calibrate(edgeexit, work, "--budget", budget).failed(BUDGET, budget, "8ms")

    def test_an_unknown_policy(self, edgeexit, work):
        self.calibrate(edgeexit, work, "--policy", "luck").failed(INPUT, "luck", "gain-soft")

    def test_a_full_disk(self, edgeexit):
        words = ("calibrate", "model.eex", "--data", "data.npz")
        edgeexit(*words, preexec_fn=_limit_files(100)).failed(RESOURCE)


@pytest.mark.parametrize("verb", ["inspect", "verify", "run", "calibrate", "profile", "bench"])
def test_a_bundle_with_one_byte_changed(edgeexit, work, verb):
    file = next((work / "model.eex").rglob("stage-2.onnx"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    more = {"run": ["--input", "data.npz"], "calibrate": ["--data", "data.npz"]}
    more["bench"] = more["calibrate"]
    edgeexit(verb, "model.eex", *more.get(verb, [])).failed(BUNDLE, "stage-2.onnx")


def test_exits_with_one_byte_changed(edgeexit, work):
    file = work / "model.eex" / "exits.json"
    text = file.read_text()
    file.write_text(text.replace("gain-soft", "gain-sofu", 1))
    edgeexit("run", "model.eex", "--input", "data.npz").failed(BUNDLE, "exits.json")


def test_a_bundle_for_a_target_that_is_not_installed(edgeexit, work):
    """An importable folder that raises ImportError stands for a package that is not there."""
    hidden = work / "hidden" / "onnxruntime"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not installed')\n")
    done = edgeexit("run", "model.eex", "--input", "data.npz", PYTHONPATH=str(hidden.parent))
    done.failed(TARGET, "onnxruntime", "pip install")


def test_an_input_that_does_not_exist(edgeexit, work):
    edgeexit("run", "model.eex", "--input", "nowhere.npy").failed(INPUT, "nowhere.npy")


def test_an_input_of_another_shape(edgeexit, work):
    np.save(work / "x.npy", np.zeros((1, 9), np.float32))
    edgeexit("run", "model.eex", "--input", "x.npy").failed(INPUT, "(1, 9)")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_stdout(edgeexit, work):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = edgeexit("inspect", "model.eex", stdout=full)
    done.failed(RESOURCE, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "words",
    [
        ["compile", "model.onnx", "--data", "slow:data"],
        ["calibrate", "model.eex", "--data", "slow:data"],
    ],
    ids=["compile", "calibrate"],
)
def test_a_signal_in_the_middle(work, words, number, code):
    (work / "slow.py").write_text(
        "import pathlib, time\n"
        "def data():\n"
        "    pathlib.Path('started').touch()\n"
        "    time.sleep(600)\n"
    )
    before = contents(work / "model.eex")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeexit.cli", *words],
        cwd=work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(EDGEEXIT_CACHE=str(work / "cache")),
    )
    deadline = time.monotonic() + TIMEOUT
    while not (work / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stdout) == (code, "")
    error, hint = stderr.splitlines()[-2:]
    assert error == ("error: interrupted." if code == 130 else "error: terminated.")
    assert "unchanged" in hint
    assert contents(work / "model.eex") == before
    assert _leftovers(work) == set()


def _leftovers(work):
    """Return what lies beside the old bundle and belongs to it, but for the empty lock file."""
    found = {path.name for path in work.iterdir() if "model.eex" in path.name}
    return {name for name in found if not name.endswith(".lock")} - {"model.eex"}


def _limit_files(size):
    """Return what lets a process write files of at most ``size`` bytes, as on a full disk."""

    def limit():
        # EFBIG instead of the signal, as Python itself sets it; engines may reset it.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit

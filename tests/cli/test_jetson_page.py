"""docs/jetson.md: its laptop half as written; of its device half what exists and what runs here.

On the device half the commands are parsed, and some run on this machine's processor instead. That
they work on a Jetson is shown by nothing here.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest

from edgeexit.cli.main import VERBS
from edgeexit.targets.device import load_device
from tests.cli.conftest import clean_environment
from tests.runtime.pack_selftest import CLASSES, SIDE, write_cnn

PAGE = Path(__file__).parents[2] / "docs" / "jetson.md"
LAPTOP, DEVICE = "On the laptop", "On the device"


def section(title):
    return re.search(rf"^## {title}$(.*?)(?=^## )", PAGE.read_text(), re.M | re.S)[1]


def commands(title):
    return re.findall(r"^    (edgeexit .*)$", section(title), re.M)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """A folder with the files that the page starts from."""
    folder = tmp_path_factory.mktemp("laptop")
    write_cnn(folder / "model.onnx")
    rng = np.random.default_rng(1)
    for name, count in (("calibration.npz", 400), ("test.npz", 64)):
        images = rng.normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)
        np.savez(folder / name, image=images, y=rng.integers(0, CLASSES, count))
    return folder


def run(words, folder):
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=clean_environment(EDGEEXIT_CACHE=str(folder / "cache")),
        capture_output=True,
        text=True,
        check=False,
    )


def edgeexit(command, folder, *more):
    done = run(["-m", "edgeexit.cli", *shlex.split(command)[1:], *more], folder)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: pip install 'edgeexit[rtx]'",
)
def test_the_laptop_half_and_what_of_the_rest_runs_here(laptop):
    compiled, verified, built = (edgeexit(command, laptop) for command in commands(LAPTOP))
    assert "compiled model.eex: int8 for jetson-orin" in compiled
    assert "files as sealed, golden outputs as compiled" in verified
    assert built.startswith("builds with TensorRT-RTX for SM86")
    assert "2 of 2" in built
    calibrate, bench = (
        next(c for c in commands(DEVICE) if c.startswith(f"edgeexit {verb}"))
        for verb in ("calibrate", "bench")
    )
    # The first of this model's two exits costs 0.73: it cannot be had for half.
    calibrated = edgeexit(calibrate.replace("0.5", "0.9"), laptop, "--target", "cpu")
    assert "at budget 0.9" in calibrated
    assert "static again" in edgeexit(bench, laptop, "--target", "cpu", "--rounds", "5")
    (snippet,) = re.findall(r"```python\n(.*?)```", section(DEVICE), re.S)
    here = snippet.replace('Runtime("model.eex")', 'Runtime("model.eex", target="cpu")')
    assert here != snippet
    done = run(["-c", here.replace("0.6", "0.8")], laptop)  # 0.6 is out of reach too
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")


@pytest.mark.parametrize("command", [*commands(LAPTOP), *commands(DEVICE)])
def test_every_command_of_the_page_exists(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, verb, *words = shlex.split(command)
    assert verb in VERBS
    parsed: click.Context = import_module(f"edgeexit.cli.{verb}").command.make_context(verb, words)
    if target := parsed.params.get("target"):
        assert load_device(target).name == target


def test_the_page_names_devices_that_exist_and_claims_nothing():
    text = PAGE.read_text()
    for name in set(re.findall(r"`(jetson[a-z-]*)`", text)):
        assert load_device(name).engine == "tensorrt"
    assert "runs on Jetson" not in text
    claims = re.findall(r"[^.]*runs? on a Jetson[^.]*", text)
    assert claims
    # Each mention denies it.
    assert all(re.search(r"\b(not|Nobody)\b", claim) for claim in claims)

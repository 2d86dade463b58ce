"""``edgeexit doctor --target``: word for word what it says where parts are missing."""

from __future__ import annotations

import importlib.util
import re

import pytest

from edgeexit.targets.cuda.library import wheels
from edgeexit.targets.cuda.probe import probe_cuda
from edgeexit.targets.info import Unavailable
from tests.cli.test_verbs import documented, run_json

TARGET = 6

MISSING = """\
self-test for jetson-orin (engine tensorrt)
part               state      what was found
board              not there  this is no Jetson.
Python module      not there  the module tensorrt is not installed.
CUDA library       ok         CUDA <version> (<library>)
driver             not there  there is no NVIDIA driver.
GPU                not there  not asked: the driver is missing.
engine             not there  target 'tensorrt': the module tensorrt is not installed.
clocks             not there  no clock can be read.
power rails        not there  there is no INA3221.
CUDA round trip    not there  not tried: there is no working GPU.
build and answers  not there  not tried: there is no working engine.

this machine cannot run bundles on jetson-orin
what to do, in this order:
  1. run this on the device; elsewhere check a bundle with: edgeexit build B.eex --check.
  2. pip install tensorrt (10.3 or newer), with an NVIDIA driver for its CUDA version.
  3. <driver>

what to send back if something is off (read it first; paths may name you):
    edgeexit <version>, python <version>, numpy <version>, platform <platform>
    device file jetson-orin: tensorrt, optimization_level = 3, workspace = 4294967296
    board: not there: this is no Jetson.
    Python module: not there: the module tensorrt is not installed.
    CUDA library: ok: CUDA <version> (<library>)
    driver: not there: there is no NVIDIA driver.
    GPU: not there: not asked: the driver is missing.
    engine: not there: target 'tensorrt': the module tensorrt is not installed.
    clocks: not there: no clock can be read.
    power rails: not there: there is no INA3221.
    CUDA round trip: not there: not tried: there is no working GPU.
    build and answers: not there: not tried: there is no working engine.
"""

PARTS = MISSING.splitlines()[-10:]

bare = pytest.mark.skipif(
    not isinstance(probe_cuda(), Unavailable)
    or importlib.util.find_spec("tensorrt") is not None
    or not wheels(),
    reason="a machine with NVIDIA's CUDA library and neither a GPU nor TensorRT is needed",
)


def masked(text):
    """Replace what differs between machines by its name."""
    text = re.sub(r"CUDA \d+\.\d+ \(.*\)", "CUDA <version> (<library>)", text)
    text = re.sub(r"platform \S+$", "platform <platform>", text, flags=re.M)
    text = re.sub(r"(edgeexit|python|numpy) \d[\w.+]*", r"\1 <version>", text)
    return re.sub(r"  3\. on a PC install NVIDIA's driver.*", "  3. <driver>", text)


@bare
def test_a_laptop_is_told_what_is_missing(edgeexit):
    done = edgeexit("doctor", "--target", "jetson-orin")
    assert done.code == TARGET
    assert masked(done.stdout) == MISSING
    # While it looks, each part is named as it comes.
    assert done.stderr.splitlines() == [line[4:].split(":")[0] for line in PARTS]


@bare
def test_the_same_as_json(edgeexit):
    done = edgeexit("doctor", "--target", "jetson-orin", "--json", "-q")
    assert (done.code, done.stderr) == (TARGET, "")
    assert set(done.json) == documented("doctor --target")
    assert not done.json["usable"]
    states = {part["name"]: part["state"] for part in done.json["parts"]}
    assert states["CUDA library"] == "ok"
    assert sum(state == "not there" for state in states.values()) == 9
    assert done.json["settings"] == {"optimization_level": 3, "workspace": 4 * 2**30}


def test_a_processor_is_tried_in_earnest(edgeexit):
    answer = run_json_for_target(edgeexit, "cpu")
    assert answer["usable"]
    assert [part["state"] for part in answer["parts"]] == ["ok", "ok"]
    text = edgeexit("doctor", "--target", "cpu").stdout
    assert "this machine can run bundles on cpu" in text
    assert "what to do" not in text


def test_a_device_that_does_not_exist(edgeexit):
    edgeexit("doctor", "--target", "toaster").failed(TARGET, "toaster", "jetson")


def test_a_device_file_that_is_none(edgeexit, tmp_path):
    (tmp_path / "mine.toml").write_text("name = 3")
    edgeexit("doctor", "--target", "mine.toml").failed(TARGET, "mine.toml", "missing")


@pytest.mark.parametrize("how", ["file", "environment"])
def test_a_setting_for_bundles_starts_no_self_test(edgeexit, tmp_path, how):
    """``target`` in ``edgeexit.toml`` says what bundles are for; doctor answers as without it."""
    extra = {}
    if how == "file":
        (tmp_path / "edgeexit.toml").write_text('target = "jetson"\n')
    else:
        extra["EDGEEXIT_TARGET"] = "jetson"
    done = edgeexit("doctor", "--json", **extra)
    assert done.code == 0
    assert set(done.json) == documented("doctor")
    rows = [row for row in done.json["settings"] if row["setting"] == "target"]
    assert {row["value"] for row in rows} == {"jetson"}
    assert "doctor" not in {row["verb"] for row in rows}


def test_without_the_flag_nothing_has_changed(edgeexit):
    answer = run_json(edgeexit, "doctor")
    assert "parts" not in answer
    assert answer["targets"].keys() >= {"onnxruntime", "tensorrt", "rtx"}


def run_json_for_target(edgeexit, target):
    done = edgeexit("doctor", "--target", target, "--json")
    assert done.code == 0, done.stderr
    assert set(done.json) == documented("doctor --target")
    return done.json

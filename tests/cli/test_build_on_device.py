"""``edgeexit build`` where engines are built on the device, on a pretended one.

TensorRT-RTX really builds, for SM86, into the real cache; ONNX Runtime answers in place of what was
built. So this shows what the verb does and says, and nothing of a GPU.
"""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from edgeexit.runtime.selftest_bundle import unpack_selftest
from tests.cli.test_build import sealed
from tests.cli.test_verbs import documented

BUNDLE, TARGET = 5, 6

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: pip install 'edgeexit[rtx]'",
)

MODULE = """
from dataclasses import replace
from edgeexit.targets.onnxruntime.target import OnnxRuntimeTarget
from edgeexit.targets.tensorrt.plans import PlanStore
from edgeexit.targets.tensorrt.target import build_job

class Pretended(OnnxRuntimeTarget):
    name = "pretended"
    builds_on_device = True

    def _build_impl(self, model, inputs, outputs, options, report):
        job = replace(build_job(model, inputs, outputs, options), compute_capability="sm86")
        return PlanStore(options.cache, "tensorrt_rtx", {"gpu": "none"}).plan(job, report).built
"""

DEVICE = """
name = "pretended"
description = "A device that is not there"
engine = "pretended"
precisions = ["int8"]
default_precision = "int8"
threads = 1
batch_buckets = [1, 4]
int8_compute = "fp16"
"""


@pytest.fixture
def build(edgeexit, tmp_path):
    """Run ``edgeexit build`` for the pretended device, which an installed package brings."""
    (tmp_path / "pretended.py").write_text(MODULE)
    (tmp_path / "pretended.toml").write_text(DEVICE)
    info = tmp_path / "pretended-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pretended\nVersion: 1.0\n")
    entry = "[edgeexit.targets]\npretended = pretended:Pretended\n"
    (info / "entry_points.txt").write_text(entry)
    unpack_selftest(tmp_path / "b.eex")

    def run(*words):
        words = ("build", "b.eex", "--target", "pretended.toml", *words)
        return edgeexit(*words, PYTHONPATH=str(tmp_path))

    return run


def test_built_once_compared_and_asked(build, tmp_path):
    done = build("--json")
    assert done.code == 0, done.stderr
    answer = done.json
    assert set(answer) == documented("build")
    assert (answer["device"], answer["check"], answer["agrees"]) == ("pretended", False, True)
    assert [graph["cached"] for graph in answer["graphs"]] == [False, False]
    assert answer["golden"]["agrees"]
    assert [found["exit"] for found in answer["golden"]["exits"]] == ["exit_1", "exit_2"]
    assert len(list((tmp_path / "cache").rglob("plan-*.plan"))) == 2

    again = build("--all")
    assert again.code == 0, again.stderr
    title, _, *rows = again.stdout.splitlines()
    assert title.startswith("built for pretended with onnxruntime ")
    assert [row.split()[-1] for row in rows[:4]] == ["before", "before", "now", "now"]
    assert rows[4].startswith("kept in ")
    assert rows[5].startswith("golden outputs: as compiled, to within ")

    rebuilt = build("--rebuild", "--json", "-q")
    assert rebuilt.stderr == ""
    assert [graph["cached"] for graph in rebuilt.json["graphs"]] == [False, False]


def test_engines_of_an_equal_device_are_taken_over_when_told_to(build, tmp_path):
    assert build("-q").code == 0
    done = build("--trust-plans")
    assert "engines of another machine taken over: 0" in done.stderr
    assert done.stdout.count("before") == 2


def test_an_answer_that_differs(build, tmp_path):
    """Golden outputs that no engine gives stand for an engine that computes wrongly."""
    golden = tmp_path / "b.eex" / "golden.npz"
    with np.load(golden) as arrays:
        changed = {name: arrays[name] for name in arrays}
    changed["output/exit_1/exit_1"] = changed["output/exit_1/exit_1"] + 1
    np.savez(golden, **changed)
    sealed(tmp_path / "b.eex")
    done = build()
    assert done.code == BUNDLE
    assert "built for pretended" in done.stdout
    assert "golden outputs: exit 'exit_1' differs from its golden output by 1" in done.stdout
    answer = build("--json")
    assert (answer.code, answer.json["golden"]["agrees"]) == (BUNDLE, False)
    assert "exit_1" in answer.json["golden"]["fault"]
    assert answer.json["agrees"]


def test_a_layer_that_differs(build, tmp_path):
    recipe = tmp_path / "b.eex" / "recipe.json"
    table = json.loads(recipe.read_text())
    table["graphs"][0]["int8_layers"].append("relu_1")
    recipe.write_text(json.dumps(table))
    sealed(tmp_path / "b.eex")
    done = build()
    assert done.code == TARGET
    assert "stage 1: relu_1 was to compute in int8; built: " in done.stdout
    assert "golden outputs: as compiled" in done.stdout


def test_the_self_test_builds_and_asks(build, edgeexit, tmp_path):
    words = ("doctor", "--target", "pretended.toml", "--json")
    done = edgeexit(*words, PYTHONPATH=str(tmp_path))
    assert done.code == 0, done.stderr
    engine, answers = done.json["parts"]
    assert (engine["state"], answers["state"]) == ("ok", "ok")
    assert "4 engines built in " in answers["found"]
    assert "9 of 9 layers in int8; 2 exits answer as their golden outputs" in answers["found"]
    # It builds into a cache that is thrown away.
    assert not list((tmp_path / "cache").rglob("plan-*"))

"""``edgeexit build``: real builds with TensorRT-RTX, and every way to be refused.

TensorRT itself needs a GPU; nothing here shows that a bundle runs on one.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json

import numpy as np
import onnx
import pytest

from edgeexit.bundle.integrity import seal_files
from edgeexit.bundle.manifest import manifest_bytes, read_manifest
from edgeexit.compiler import compile_model
from edgeexit.demo import calibration_path, model_path
from edgeexit.runtime.selftest_bundle import unpack_selftest
from tests.cli.test_verbs import run_json

BUNDLE, TARGET = 5, 6

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: pip install 'edgeexit[rtx]'",
)


@pytest.fixture
def jetson(tmp_path):
    """A small int8 bundle for a Jetson, as the self-test has it."""
    return unpack_selftest(tmp_path / "jetson.eex")


@needs_rtx
class TestCheck:
    def test_each_stage_is_built_for_another_gpu_and_nothing_is_kept(self, edgeexit, jetson):
        answer = run_json(edgeexit, "build", "jetson.eex", "--check")
        assert (answer["check"], answer["agrees"], answer["golden"]) == (True, True, None)
        assert answer["engine"].startswith("TensorRT-RTX for SM86 (1.")
        assert [graph["graph"] for graph in answer["graphs"]] == ["stage 1", "stage 2"]
        first, second = answer["graphs"]
        assert first["int8_expected"] == ["conv_1", "conv_2"]
        assert second["int8_expected"] == ["conv_3"]
        # One entry an optimization profile: for one sample, and for batches.
        precisions = [x["precision"] for x in second["layers"] if x["name"] == "conv_3"]
        assert precisions == ["int8", "int8"]
        assert min(graph["bytes"] for graph in answer["graphs"]) > 100_000
        assert not (jetson.parent / "cache").exists()

    def test_what_is_said(self, edgeexit, jetson):
        done = edgeexit("build", "jetson.eex", "--check", "--sm", "sm_120", "--all")
        assert done.code == 0, done.stderr
        title, columns, *rows = done.stdout.splitlines()
        assert title.startswith("builds with TensorRT-RTX for SM120 (")
        assert columns.split() == ["graph", "seconds", "size", "int8", "layers", "built"]
        assert [row.split("  ")[0].strip() for row in rows[:4]] == [
            "stage 1", "stage 2", "static", "whole",
        ]  # fmt: skip
        assert ["2 of 2" in rows[0], "3 of 3" in rows[3]] == [True, True]
        assert "It does not show that the bundle runs on a Jetson" in rows[4]
        assert "runs on Jetson" not in done.stdout
        steps = done.stderr.splitlines()
        assert steps[0] == "stage 1"
        assert [step.startswith(("stage 2 (about", "static (about")) for step in steps[1:3]] == [
            True,
            True,
        ]

    @pytest.mark.parametrize(
        ("sm", "words"),
        [
            ("87", ("SM87 is Jetson Orin's", "no kernels for Jetson", "--sm 86")),
            ("110", ("SM110 is Jetson Thor's", "no kernels for Jetson", "--sm 120")),
            ("90", ("no compute capability '90'", "75, 80, 86, 89, 120, 121")),
            ("fast", ("no compute capability 'fast'", "75, 80, 86, 89, 120, 121")),
        ],
    )
    def test_a_gpu_that_it_cannot_build_for(self, edgeexit, jetson, sm, words):
        done = edgeexit("build", "jetson.eex", "--check", "--sm", sm).failed(TARGET, *words)
        assert done.stdout == ""

    def test_a_bundle_for_a_processor(self, edgeexit, work):
        done = edgeexit("build", "model.eex", "--check")
        done.failed(TARGET, "was not prepared for TensorRT", "--target jetson")

    def test_a_graph_that_the_parser_refuses(self, edgeexit, jetson):
        """An operator that TensorRT lacks stands for one that the lint did not know of."""
        file = jetson / "graphs" / "stage-2.onnx"
        model = onnx.load(file, load_external_data=False)
        next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Det"
        onnx.save(model, file)
        sealed(jetson)
        done = edgeexit("build", "jetson.eex", "--check")
        done.failed(TARGET, "stage-2.onnx", "The parser's own words", "Det")

    def test_a_layer_that_is_not_in_int8_as_expected(self, edgeexit, jetson):
        recipe = json.loads((jetson / "recipe.json").read_text())
        for graph in recipe["graphs"]:
            graph["int8_layers"] += ["relu_3"]
        (jetson / "recipe.json").write_text(json.dumps(recipe))
        sealed(jetson)
        done = edgeexit("build", "jetson.eex", "--check")
        assert done.code == TARGET
        lines = done.stdout.splitlines()
        assert lines[0].endswith(", but not as expected")
        assert ["2 of 3" in lines[2], "1 of 2" in lines[3]] == [True, True]
        assert lines[4].startswith("  stage 1: relu_3 was to compute in int8; built: ")
        answer = edgeexit("build", "jetson.eex", "--check", "--json").json
        assert [graph["int8_missing"] for graph in answer["graphs"]] == [["relu_3"], ["relu_3"]]
        assert not answer["agrees"]


def test_a_check_without_tensorrt_rtx(edgeexit, jetson, tmp_path):
    """An importable folder that raises ImportError stands for a package that is not there."""
    hidden = tmp_path / "hidden" / "tensorrt_rtx"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not installed')\n")
    done = edgeexit("build", "jetson.eex", "--check", PYTHONPATH=str(hidden.parent))
    done.failed(TARGET, "tensorrt_rtx", "not installed", "pip install 'edgeexit[rtx]'")


def test_a_bundle_for_a_jetson_elsewhere(edgeexit, jetson):
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here: another part would be missing")
    done = edgeexit("build", "jetson.eex")
    done.failed(TARGET, "module tensorrt is not installed", "edgeexit build jetson.eex --check")


def test_there_is_nothing_to_build_for_a_processor(edgeexit, work):
    done = edgeexit("build", "model.eex", "--target", "cpu")
    assert done.code == 0
    assert done.stdout.startswith("nothing to build for cpu: onnxruntime ")
    answer = run_json(edgeexit, "build", "model.eex", "--target", "cpu")
    assert (answer["graphs"], answer["agrees"], answer["golden"]) == ([], True, None)


@pytest.mark.parametrize("words", [(), ("--check",)])
def test_a_damaged_bundle(edgeexit, jetson, words):
    file = jetson / "graphs" / "stage-2.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    edgeexit("build", "jetson.eex", *words).failed(BUNDLE, "stage-2.onnx")


def test_a_capability_without_a_check_is_a_misunderstanding(edgeexit, jetson):
    done = edgeexit("build", "jetson.eex", "--sm", "87")
    done.failed(2, "--sm says what --check builds for", "edgeexit build --help")


@pytest.mark.parametrize("flag", ["--rebuild", "--trust-plans"])
def test_a_check_keeps_nothing_to_rebuild_or_to_trust(edgeexit, jetson, flag):
    edgeexit("build", "jetson.eex", "--check", flag).failed(2, f"{flag} says nothing beside it")


def test_a_bundle_that_is_not_there(edgeexit):
    edgeexit("build", "nowhere.eex", "--check").failed(BUNDLE, "nowhere.eex")


@needs_rtx
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_model_builds_as_expected(edgeexit, tmp_path):
    with np.load(calibration_path()) as data:
        few = {"image": data["image"][:48]}
    compile_model(
        model_path(),
        tmp_path / "vit.eex",
        target="jetson-orin",
        precision="int8",
        quant_data=few,
    )
    answer = run_json(edgeexit, "build", "vit.eex", "--check")
    assert len(answer["graphs"]) == 4
    # The last of the four stages holds two of the blocks; every block has six products.
    assert min(len(graph["int8_expected"]) for graph in answer["graphs"]) >= 6
    assert [graph["int8_missing"] for graph in answer["graphs"]] == [[], [], [], []]


def sealed(bundle):
    """Seal a bundle anew, after a change to its files."""
    manifest, _ = read_manifest(bundle)
    (bundle / "manifest.json").unlink()
    data, _ = manifest_bytes(dataclasses.replace(manifest, files=seal_files(bundle)))
    (bundle / "manifest.json").write_bytes(data)

"""``examples/01_tune_on_images`` at a small size, on real images."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from edgeexit import demo
from tests.walk import EXAMPLES, called, copied, walk

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
for needed in ("torch", "transformers", "peft", "onnxscript", "nncf", "openvino"):
    pytest.importorskip(needed)

EXAMPLE = "01_tune_on_images"
SMALL = [
    "data.validation=0.1",
    "data.calibration=0.3",
    "training.batch=32",
    "training.threads=1",
    "backbone.settings.width=32",
    "backbone.settings.depth=4",
    "backbone.settings.heads=2",
    "exits.after=1,2,3,4",
]
SETS = [word for setting in SMALL for word in ("--set", setting)]


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a gzipped idx file of bytes, the format of the data set."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder as the data set's: 1,000 training and 500 test images."""
    folder = tmp_path_factory.mktemp("fashion")
    with np.load(demo.calibration_path()) as arrays:
        images, labels = arrays[demo.INPUT][:, 0], arrays["y"]
    for part, rows in (("train", slice(0, 1000)), ("t10k", slice(1000, 1500))):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images[rows])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels[rows])
    return folder


@pytest.fixture(scope="module")
def walked(data, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The example's folder after all its commands, and what they printed."""
    folder = copied(EXAMPLE, tmp_path_factory.mktemp("example"))
    smaller = {
        "python prepare.py": ["--data", str(data), "--rows", "600"],
        "edgeexit tune": [*SETS, "--epochs", "1"],
        "edgeexit bench": ["--rounds", "5", "--limit", "100"],
    }
    return folder, walk(folder, smaller)


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestWalk:
    def test_the_commands_are_those_of_the_readme(self, walked):
        words = [command.split()[1] for command in walked[1]]
        assert words == [
            "prepare.py", "tune", "compile", "calibrate", "run", "bench", "tune", "build_demo.py",
        ]  # fmt: skip

    def test_the_files_of_the_data_set_become_balanced_arrays(self, walked):
        with np.load(walked[0] / "train.npz") as arrays:
            assert arrays["classes"].tolist() == list(demo.CLASS_NAMES)
            assert (arrays["image"].shape, arrays["image"].dtype) == ((600, 1, 28, 28), np.uint8)
            assert np.bincount(arrays["y"]).tolist() == [60] * 10

    def test_ten_images_are_answered_by_name(self, walked):
        (answer,) = (out for command, out in walked[1].items() if " run " in command)
        assert "10 samples, mean cost 0." in answer
        assert any(name in answer for name in demo.CLASS_NAMES)

    def test_the_bundle_keeps_its_budget(self, walked):
        (report,) = (out for command, out in walked[1].items() if " bench " in command)
        cost = float(re.search(r"mean cost ([0-9.]+)", report).group(1))
        assert cost == pytest.approx(0.5, abs=0.08)

    def test_the_demo_gets_a_model_with_its_weights_inside(self, walked):
        path = walked[0] / "my_demo" / demo.model_path().name
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        (image,) = model.graph.input
        dims = image.type.tensor_type.shape.dim
        assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
        assert [dims[0].dim_param, *(dim.dim_value for dim in dims[1:])] == ["batch", 1, 28, 28]
        assert [output.name for output in model.graph.output] == [f"exit_{k}" for k in range(1, 5)]
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        assert "Shape" not in {node.op_type for node in model.graph.node}

    def test_the_demo_gets_balanced_sets_without_class_names(self, walked):
        for path, count in ((demo.calibration_path(), 180), (demo.evaluation_path(), 250)):
            with np.load(walked[0] / "my_demo" / path.name) as arrays:
                assert sorted(arrays) == ["image", "y"]
                assert np.bincount(arrays["y"]).tolist() == [count // 10] * 10
                assert arrays["image"].shape == (count, 1, 28, 28)


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestRecipe:
    @pytest.fixture
    def recipe(self, walked):
        return json.loads((walked[0] / "my_demo" / demo.recipe_path().name).read_text())

    def test_it_describes_the_files_beside_it(self, walked, recipe):
        assert len(recipe["files"]) == 3
        for name, entry in recipe["files"].items():
            content = (walked[0] / "my_demo" / name).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            assert entry == {"bytes": len(content), "sha256": digest}

    def test_its_figures_are_those_of_the_files(self, walked, recipe):
        folder = walked[0] / "my_demo"
        session = onnxruntime.InferenceSession(folder / demo.model_path().name)
        with np.load(folder / demo.evaluation_path().name) as arrays:
            answers = session.run(None, {"image": arrays["image"]})
            right = [float((each.argmax(-1) == arrays["y"]).mean()) for each in answers]
        figures = recipe["figures"]["decoupled"]
        assert figures["shipped_test"]["accuracy_per_exit"] == pytest.approx(right, abs=2 / 250)
        assert figures["whole_test"]["images"] == 500
        assert figures["whole_test"]["at_half_the_flops"]["cost"] == pytest.approx(0.5, abs=0.08)
        assert figures["cost_per_exit"] == sorted(figures["cost_per_exit"])
        assert max(recipe["parity"]["max_abs_difference"]) <= 1e-4
        assert sum(recipe["parity"]["flips"]) == 0

    def test_its_commands_are_those_that_ran(self, walked, recipe):
        sets = [setting.replace("=1,2,3,4", "=[1,2,3,4]") for setting in SMALL]
        first, tune, plain, build = recipe["commands"]
        assert first == "python prepare.py"
        assert tune.startswith("edgeexit tune tune.toml -o tuned --set ")
        assert all(setting in tune for setting in [*sets, "training.epochs=1"])
        assert "objective.method" not in tune
        twin = ("objective.method=joint", "exits.predictor=linear", "bypass.width=0")
        assert all(setting in plain for setting in twin)
        assert build.endswith("--plain plain --test test.npz --out ../../edgeexit/demo")
        assert recipe["config"]["data"]["train"] == "train.npz"
        assert (recipe["seed"], recipe["epochs"]) == (0, 1)

    def test_the_plain_twin_stands_beside_the_model(self, recipe):
        model, plain = (recipe["figures"][name] for name in ("decoupled", "plain"))
        assert plain["parameters"] < model["parameters"]
        assert plain["cost_per_exit"][-1] == pytest.approx(1.0, abs=0.01)
        assert model["cost_per_exit"][-1] > 1.1


class TestBadInput:
    def test_a_folder_without_the_data_set_is_named_with_what_to_do(self, tmp_path):
        folder = copied(EXAMPLE, tmp_path)
        done = called(f"python prepare.py --data {tmp_path} --out out", folder)
        assert done.returncode == 1
        assert f"no train-images-idx3-ubyte.gz in {tmp_path}" in done.stderr
        assert "apt-get install dataset-fashion-mnist" in done.stderr
        assert not (folder / "out").exists()

    @pytest.mark.parametrize(
        "content",
        [b"no gzip", gzip.compress(b"\0\0\x08\x01\0\0\0\x09five")],
        ids=["no-gzip", "too-short"],
    )
    def test_another_file_under_its_name_is_refused(self, tmp_path, content):
        folder = copied(EXAMPLE, tmp_path)
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
        done = called(f"python prepare.py --data {tmp_path}", folder)
        assert done.returncode == 1
        assert "train-images-idx3-ubyte.gz is not an idx file of bytes" in done.stderr

    def test_too_few_rows_are_refused(self, tmp_path, data):
        done = called(f"python prepare.py --data {data} --rows 9", copied(EXAMPLE, tmp_path))
        assert done.returncode == 2
        assert "--rows is 9; one image of each of the 10 classes is the least." in done.stderr


def test_the_default_config_keeps_4000_images_for_calibration_and_1000_for_validation():
    from edgeexit.dmpo.config_file import read_config
    from edgeexit.dmpo.data.split import split_rows

    config = read_config(EXAMPLES / EXAMPLE / "tune.toml")
    shares = (config.data.validation, config.data.calibration)
    parts = split_rows(np.repeat(np.arange(10), 6000), shares, seed=0)
    assert [len(part) for part in parts] == [55_000, 1_000, 4_000]

"""The files of ``edgeexit.demo``: what they hold, how large they are, and that they agree."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeexit import demo

LARGEST_FOLDER_PART = 4_000_000
"""Bytes that the model, and the two sets together, may take in the repository."""

EXITS = ["exit_1", "exit_2", "exit_3", "exit_4"]
SETS = (demo.calibration_path(), demo.evaluation_path())


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """The recipe as written by the tuning script."""
    content: dict[str, Any] = json.loads(demo.recipe_path().read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    """Logits ``(4, n, 10)`` of the whole test set, from ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        demo.model_path(), options, providers=["CPUExecutionProvider"]
    )
    with np.load(demo.evaluation_path()) as arrays:
        images = arrays[demo.INPUT]
    chunks = [np.stack(session.run(EXITS, {demo.INPUT: part})) for part in np.split(images, 10)]
    return np.concatenate(chunks, axis=1)


@pytest.mark.parametrize(("path", "count"), [(SETS[0], 4_000), (SETS[1], 5_000)])
def test_a_set_has_balanced_uint8_images_and_int64_labels(path: Path, count: int) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays) == [demo.INPUT, "y"]
        images, labels = arrays[demo.INPUT], arrays["y"]
    assert (images.shape, images.dtype) == ((count, 1, 28, 28), np.uint8)
    assert (labels.shape, labels.dtype) == ((count,), np.int64)
    assert np.bincount(labels).tolist() == [count // 10] * len(demo.CLASS_NAMES)
    assert 60 < images.mean() < 85, "Fashion-MNIST has a mean pixel of about 73"


def test_the_sets_share_no_image() -> None:
    images = [np.load(path)[demo.INPUT].reshape(-1, 28 * 28) for path in SETS]
    calibration, test = ({row.tobytes() for row in part} for part in images)
    assert len(calibration & test) == 0


def test_the_files_fit_into_the_repository() -> None:
    assert demo.model_path().stat().st_size <= LARGEST_FOLDER_PART
    assert sum(path.stat().st_size for path in SETS) <= LARGEST_FOLDER_PART


def test_the_model_has_one_uint8_input_four_exits_and_its_weights_inside() -> None:
    model = onnx.load(demo.model_path(), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    (image,) = model.graph.input
    dims = image.type.tensor_type.shape.dim
    assert image.name == demo.INPUT
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [dims[0].dim_param, *(dim.dim_value for dim in dims[1:])] == ["batch", 1, 28, 28]
    assert [output.name for output in model.graph.output] == EXITS
    for output in model.graph.output:
        batch, classes = output.type.tensor_type.shape.dim
        assert (batch.dim_param, classes.dim_value) == ("batch", len(demo.CLASS_NAMES))
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert model.opset_import[0].version == 20
    assert "Shape" not in {node.op_type for node in model.graph.node}


def test_the_recipe_describes_these_very_files(recipe: dict[str, Any]) -> None:
    for path in (demo.model_path(), *SETS):
        content = path.read_bytes()
        assert recipe["files"][path.name] == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def test_the_model_reaches_the_accuracy_of_the_recipe(
    recipe: dict[str, Any], logits: np.ndarray
) -> None:
    with np.load(demo.evaluation_path()) as arrays:
        measured = (logits.argmax(-1) == arrays["y"]).mean(axis=1)
    written = recipe["figures"]["decoupled"]["shipped_test"]["accuracy_per_exit"]
    np.testing.assert_allclose(measured, written, atol=2 / 5_000)
    assert measured.min() >= 0.88


def test_the_first_exit_costs_about_a_quarter(recipe: dict[str, Any]) -> None:
    costs = recipe["figures"]["decoupled"]["cost_per_exit"]
    assert costs[0] <= 0.265
    assert costs == sorted(costs)
    assert 1.0 < costs[-1] < 1.05

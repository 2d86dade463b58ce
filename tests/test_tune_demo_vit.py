"""The tuning script of ``examples/01_tune_demo_vit``, run at a tiny size on real images."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeexit import demo

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "01_tune_demo_vit" / "tune.py"


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a gzipped idx file of bytes, the format of the data set."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on one thread and return what it printed."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--threads", "1"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_tuning_a_few_images_writes_a_model_with_four_exits(tmp_path: Path) -> None:
    with np.load(demo.calibration_path()) as arrays:
        images, labels = arrays[demo.INPUT][:, 0], arrays["y"]
    for part, rows in (("train", slice(0, 400)), ("t10k", slice(400, 600))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels[rows])

    done = run("--data", str(tmp_path), "--out", str(tmp_path / "demo"), "--epochs", "1")

    assert done.returncode == 0, done.stderr
    recipe = json.loads((tmp_path / "demo" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["largest_difference_from_torch"] <= 1e-4
    assert recipe["figures"]["decoupled"]["cost_per_exit"][0] <= 0.265
    assert recipe["figures"]["plain"]["cost_per_exit"][0] <= 0.26
    session = onnxruntime.InferenceSession(tmp_path / "demo" / "fashion_vit.onnx")
    answers = session.run(None, {demo.INPUT: images[:3, None]})
    assert [answer.shape for answer in answers] == [(3, 10)] * 4


def test_a_folder_without_the_data_set_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = run("--data", str(tmp_path), "--out", str(tmp_path / "demo"))
    assert done.returncode == 1
    assert f"no train-images-idx3-ubyte.gz in {tmp_path}" in done.stderr
    assert "apt-get install dataset-fashion-mnist" in done.stderr
    assert not (tmp_path / "demo").exists()

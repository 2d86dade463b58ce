"""Makes the files of ``edgeexit/demo/`` from a folder that ``edgeexit tune`` wrote.

Run ``python build_demo.py --tuned tuned --test test.npz --out DIR``; see README.md.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from prepare import stratified_rows
from recipe import digests, recipe_of

import edgeexit
from edgeexit.bundle.atomic import write_atomic
from edgeexit.demo import INPUT
from edgeexit.tuned import TunedFolder

MODEL_FILE = "fashion_vit.onnx"
CALIBRATION_FILE = "fashion_calibration.npz"
TEST_FILE = "fashion_test.npz"
RECIPE_FILE = "recipe.json"
FIGURES = {"tuned": "decoupled", "plain": "plain"}
"""Option that names a tuned folder, and the name its figures have in the recipe."""

CALIBRATION_IMAGES = 4_000
TEST_IMAGES = 5_000
BATCH = 250
BUDGET = 0.5

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the model, both sets and the recipe to ``--out``."""
    options = parse(arguments)
    folders = {
        name: TunedFolder.open(path)
        for name, path in (("tuned", options.tuned), ("plain", options.plain))
        if path is not None
    }
    test = read_set(options.test)
    shipped = drawn(test, min(TEST_IMAGES, len(test["y"]) // 2))
    with tempfile.TemporaryDirectory() as work:
        figures = {
            FIGURES[name]: measure(folder, {"whole_test": test, "shipped_test": shipped}, work)
            for name, folder in folders.items()
        }
    show(figures)

    tuned = folders["tuned"]
    files = {
        MODEL_FILE: tuned.model.read_bytes(),
        CALIBRATION_FILE: compressed(drawn(calibration_of(tuned), CALIBRATION_IMAGES)),
        TEST_FILE: compressed(shipped),
    }
    recipe = recipe_of(folders) | {"figures": figures, "files": digests(files)}
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomic(options.out / name, content)
    write_atomic(options.out / RECIPE_FILE, f"{json.dumps(recipe, indent=2)}\n".encode())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="The files of edgeexit/demo from a tuned folder.")
    parser.add_argument("--tuned", type=Path, required=True, metavar="DIR", help="the model")
    parser.add_argument("--plain", type=Path, metavar="DIR", help="its plain twin, to compare with")
    parser.add_argument("--test", type=Path, required=True, metavar="NPZ", help="from prepare.py")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    return parser.parse_args(arguments)


def read_set(path: Path) -> dict[str, Array]:
    """Return the images ``(n, 1, 28, 28) uint8`` and the labels ``(n,) int64`` of an ``.npz``."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in (INPUT, "y")}


def calibration_of(folder: TunedFolder) -> dict[str, Array]:
    """Return the images and labels that were kept from training.

    Raises:
        SystemExit: There are none.
    """
    if folder.calibration is None:
        raise SystemExit(f"{folder.path} holds no calibration data: tune with data.calibration.")
    return read_set(folder.calibration)


def drawn(arrays: Arrays, count: int) -> dict[str, Array]:
    """Return ``count`` samples or all there are, the same number of every class."""
    labels = arrays["y"]
    rows = stratified_rows(labels, min(count, len(labels)))
    return {name: array[rows] for name, array in arrays.items()}


def compressed(arrays: Arrays) -> bytes:
    """Return the contents of a compressed ``.npz`` file."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def measure(folder: TunedFolder, sets: Mapping[str, Arrays], work: str) -> dict[str, Any]:
    """Return what the exits cost, in FLOPs of the static model, and what they are worth.

    The model runs as its stages in float32 on ONNX Runtime; exits are calibrated on the images
    kept from training.

    Args:
        folder: The tuned folder.
        sets: Test sets by name.
        work: Folder for the bundle.
    """
    bundle = edgeexit.compile_model(
        folder.path, Path(work) / f"{folder.digest}.eex", target="cpu", precision="f32"
    )
    calibration = drawn(calibration_of(folder), CALIBRATION_IMAGES)
    family = edgeexit.calibrate_exits(bundle, calibration, BUDGET).family
    figures: dict[str, Any] = {
        "parameters": folder.report["parameters"],
        "static_flops": bundle.manifest.static_flops,
        "cost_per_exit": family.costs["flops"].per_exit,
        "policy": family.policy,
    }
    with edgeexit.Runtime(bundle, BUDGET, max_batch=BATCH) as runtime:
        for name, arrays in sets.items():
            figures[name] = run(runtime, arrays[INPUT], arrays["y"])
    return figures


def run(runtime: edgeexit.Runtime, images: Array, labels: Array) -> dict[str, Any]:
    """Return the accuracy of every exit, and accuracy and cost at half the FLOPs."""
    logits = runtime.all_exits(images).logits
    result = runtime(images)
    shares = np.bincount(result.exits, minlength=len(logits) + 1)[1:] / len(labels)
    return {
        "images": len(labels),
        "accuracy_per_exit": [float((each.argmax(-1) == labels).mean()) for each in logits],
        "at_half_the_flops": {
            "shares": shares.tolist(),
            "cost": result.cost,
            "accuracy": float((result.labels == labels).mean()),
        },
    }


def show(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what every exit costs and gets right."""
    for name, values in figures.items():
        part = values["whole_test"]
        print(f"{name}, {part['images']} test images")
        for cost, accuracy in zip(values["cost_per_exit"], part["accuracy_per_exit"], strict=True):
            print(f"  exit at cost {cost:.3f}: accuracy {accuracy:.4f}")
        gated = part["at_half_the_flops"]
        print(f"  budget {BUDGET}: cost {gated['cost']:.3f}, accuracy {gated['accuracy']:.4f}")


if __name__ == "__main__":
    main()

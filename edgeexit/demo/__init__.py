"""The model and data that come with the package: a tuned four-exit ViT on Fashion-MNIST.

``examples/01_tune_on_images`` made every file here; ``recipe.json`` says with which commands and
with what result, ``LICENSE.md`` under which licences they travel.
"""

from __future__ import annotations

from pathlib import Path

INPUT = "image"
"""Name of the model's one input, ``(batch, 1, 28, 28) uint8``, and of the images in both sets."""

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""The ten classes of Fashion-MNIST; a label is an index into this tuple."""

_FOLDER = Path(__file__).resolve().parent


def model_path() -> Path:
    """Return the ONNX model: ``image`` in, logits ``exit_1`` .. ``exit_4`` ``(batch, 10)`` out.

    Pixels are scaled inside the graph; weights are float32 and lie in the same file.
    """
    return _FOLDER / "fashion_vit.onnx"


def calibration_path() -> Path:
    """Return the ``.npz`` of images ``image (n, 1, 28, 28) uint8`` and labels ``y (n,) int64``.

    They come from the training images of Fashion-MNIST, but no weight was fitted on them.
    """
    return _FOLDER / "fashion_calibration.npz"


def evaluation_path() -> Path:
    """Return the ``.npz`` of test images and labels, with the keys of the calibration set."""
    return _FOLDER / "fashion_test.npz"


def recipe_path() -> Path:
    """Return the JSON file with commands, settings, versions, figures and digests of the files."""
    return _FOLDER / "recipe.json"

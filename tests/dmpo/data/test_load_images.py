"""Images from a source to the three sets: layouts, sizes, folders."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgeexit.bundle.specs import TensorSpec
from edgeexit.dmpo.data.load import load_tune_data
from tests.dmpo.data.loading import refused

LABELS = np.arange(20) % 2


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((20, 6, 5), (1, 6, 5)),
        ((20, 1, 6, 5), (1, 6, 5)),
        ((20, 3, 6, 5), (3, 6, 5)),
        ((20, 6, 5, 3), (3, 6, 5)),
        ((20, 6, 5, 1), (1, 6, 5)),
    ],
)
def test_every_layout_becomes_channels_first(tune_config, write_npz, shape, expected):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    config = tune_config(write_npz(x=pixels, y=LABELS), validation=0.0, calibration=0.0)
    data = load_tune_data(config)
    assert data.inputs == (TensorSpec("image", "uint8", ("batch", *expected)),)
    images = data.train.inputs["image"]
    if shape == (20, 6, 5, 3):
        pixels = pixels.transpose(0, 3, 1, 2)
    assert np.array_equal(images, pixels.reshape(20, *expected))
    assert images.flags.c_contiguous


def test_images_are_resized(tune_config, write_npz):
    pixels = np.zeros((20, 3, 8, 8), dtype=np.uint8)
    pixels[:, 1, :, 4:] = 200
    config = tune_config(write_npz(x=pixels, y=LABELS), size=(4, 2))
    images = load_tune_data(config).train.inputs["image"]
    assert images.shape == (16, 3, 4, 2)
    assert images[0, 1, :, 0].max() < 60
    assert images[0, 1, :, 1].min() > 140
    assert images[:, [0, 2]].max() == 0


def test_class_names_of_the_file(tune_config, write_npz):
    pixels = np.zeros((20, 4, 4), dtype=np.uint8)
    path = write_npz(x=pixels, y=LABELS, classes=np.asarray(["shirt", "boot"]))
    assert load_tune_data(tune_config(path)).classes == ("shirt", "boot")


def test_a_folder_of_class_folders_of_any_size(tune_config, tmp_path):
    for name, value in (("dark", 10), ("light", 240)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            image = Image.new("L", (6 + number, 9), value)
            image.save(tmp_path / "pictures" / name / f"{number}.png")
    data = load_tune_data(tune_config(tmp_path / "pictures", size=(4, 5)))
    assert data.classes == ("dark", "light")
    assert data.train.inputs["image"].shape == (16, 3, 4, 5)
    assert data.train.inputs["image"][:, 0, 0, 0].tolist() == [
        (10, 240)[label] for label in data.train.labels
    ]
    refused(tune_config(tmp_path / "pictures"), "9x6 was expected")


def test_channels_that_no_image_has(tune_config, write_npz):
    path = write_npz(x=np.zeros((20, 5, 6, 7), dtype=np.uint8), y=LABELS)
    refused(tune_config(path), "(20, 5, 6, 7)", "1, 3 or 4")


@pytest.mark.parametrize("name", ["mean", "std"])
def test_the_scaling_of_pixels_meets_pixels(tune_config, write_npz, name):
    path = write_npz(x=np.zeros((20, 1, 4, 4), np.float32), y=np.arange(20) % 2)
    refused(tune_config(path, **{name: (0.5,)}), f"data.{name} is for images as uint8")

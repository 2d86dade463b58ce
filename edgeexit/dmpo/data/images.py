"""Images as ``(n, C, H, W) uint8``, from whichever way they were stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.dmpo.data.dataset import Array
from edgeexit.dmpo.data.fault import data_error
from edgeexit.image_folder import load_pillow, read_image_folder

CHANNELS = (1, 3, 4)
"""Sizes by which a channel axis is known: grey, colour, colour and transparency."""

Pixels = npt.NDArray[np.uint8]


def is_images(array: Array) -> bool:
    """Whether an input is raw images: ``uint8`` of rank 3 or 4."""
    return array.dtype == np.uint8 and array.ndim in (3, 4)


def as_images(array: Pixels, size: tuple[int, int] | None, where: str) -> Pixels:
    """Return images as ``(n, C, H, W)``.

    Args:
        array: ``(n, C, H, W)``, ``(n, H, W)`` or ``(n, H, W, C)``; C is 1, 3 or 4.
        size: Height and width to resize to (bilinear, Pillow), or None.
        where: Name of the data, for messages.

    Raises:
        InputError: No axis can be that of the channels, or Pillow is missing.
    """
    if array.ndim == 3:
        array = array[:, None]
    elif array.shape[1] not in CHANNELS:
        if array.shape[3] not in CHANNELS:
            raise data_error(
                f"the images of {where} have the shape {array.shape}; channels were expected on "
                "axis 1 or 3, and 1, 3 or 4 of them.",
                "shape",
                "store them as (n, C, H, W), (n, H, W) or (n, H, W, C).",
            )
        array = array.transpose(0, 3, 1, 2)
    if size is not None and array.shape[2:] != size:
        array = _resized(array, size)
    return np.ascontiguousarray(array)


def read_folder(
    folder: Path, size: tuple[int, int] | None
) -> tuple[Pixels, npt.NDArray[np.int64], tuple[str, ...]]:
    """Return colour images ``(n, 3, H, W)``, labels and class names of a folder of class folders.

    Args:
        folder: The folder.
        size: Height and width to resize to, or None where all images have one size.

    Raises:
        InputError: See :func:`edgeexit.image_folder.read_image_folder`.
    """
    _, images, labels, classes = read_image_folder(folder, None, size=size)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels, classes


def _resized(images: Pixels, size: tuple[int, int]) -> Pixels:
    pillow: Any = load_pillow()
    count, channels = images.shape[:2]
    resized = np.empty((count, channels, *size), dtype=np.uint8)
    for row in range(count):
        for channel in range(channels):
            plane = pillow.fromarray(images[row, channel])
            small = plane.resize((size[1], size[0]), pillow.Resampling.BILINEAR)
            resized[row, channel] = np.asarray(small)
    return resized

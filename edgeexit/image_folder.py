"""A folder of class folders of images, decoded for a model that takes ``uint8`` images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import InputError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def read_image_folder(
    folder: Path,
    inputs: Sequence[TensorSpec] | None,
    *,
    size: tuple[int, int] | None = None,
) -> tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.int64], tuple[str, ...]]:
    """Return the input's name, the images, their labels and the class names.

    Classes are the folders in alphabetical order; images lie right in them.

    Args:
        folder: The folder of class folders.
        inputs: The model's inputs: a single ``(batch, height, width, channels) uint8`` image, or
            ``(batch, channels, height, width)``; or None for an input ``x`` of three channels.
        size: Height and width that every image is resized to (bilinear); None takes them as they
            are.

    Returns:
        The name, the images with axes in the input's order, ``(n,) int64`` and the class names.

    Raises:
        InputError: The model takes no raw images, Pillow is missing, there are no images, one
            cannot be decoded, or sizes differ.
    """
    spec = _image_input(inputs)
    pillow, mode = load_pillow(), _mode(spec)
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if _is_class(entry)))
    files = [(path, label) for label, name in enumerate(classes) for path in _images(folder / name)]
    if not files:
        raise _error(
            f"{folder} holds no class folders with images.",
            "data-empty",
            "put the images of each class into a folder named after it.",
        )
    wanted = _height_width(spec)
    images: list[npt.NDArray[np.uint8]] = []
    for path, _ in files:
        image = _decode(pillow, path, mode, size)
        _check_size(path, image, wanted)
        wanted = image.shape[:2]
        images.append(image)
    labels = np.asarray([label for _, label in files], dtype=np.int64)
    return spec.name, _ordered(np.stack(images), spec), labels, classes


def read_image(path: Path, inputs: Sequence[TensorSpec]) -> npt.NDArray[np.uint8]:
    """Return one image as the model's input, a batch of 1, axes in the input's order, ``uint8``.

    Raises:
        InputError: The model takes no raw images, Pillow is missing, or the image cannot be
            decoded or has another size.
    """
    spec = _image_input(inputs)
    image = _decode(load_pillow(), path, _mode(spec))
    _check_size(path, image, _height_width(spec))
    return _ordered(image[np.newaxis], spec)


def _channels_first(spec: TensorSpec) -> bool:
    """Whether the channels are on axis 1, as ``edgeexit tune`` leaves them; else they are last."""
    return spec.shape[3] not in _MODES and spec.shape[1] in _MODES


def _height_width(spec: TensorSpec) -> tuple[int | str, ...]:
    return spec.shape[2:] if _channels_first(spec) else spec.shape[1:3]


def _ordered(images: npt.NDArray[np.uint8], spec: TensorSpec) -> npt.NDArray[np.uint8]:
    """Return ``(n, height, width, channels)`` images with axes as the input has them."""
    if not _channels_first(spec):
        return images
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _mode(spec: TensorSpec) -> str:
    """Return Pillow's name for the pixels that the input takes."""
    channels = spec.shape[1 if _channels_first(spec) else 3]
    mode = _MODES.get(channels) if isinstance(channels, int) else "RGB"
    if mode is None:
        raise _error(f"images have 1, 3 or 4 channels; the model takes {channels}.", "channels")
    return mode


def _error(message: str, code: str, hint: str = "see --data in the README.") -> InputError:
    return InputError(message, hint=hint, code=f"input.{code}")


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _images(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES]
    return sorted(path for path in found if not path.name.startswith("."))


def _image_input(inputs: Sequence[TensorSpec] | None) -> TensorSpec:
    if inputs is None:
        return TensorSpec("x", "uint8", ("batch", "height", "width", 3))
    if len(inputs) == 1 and inputs[0].dtype == "uint8" and len(inputs[0].shape) == 4:
        return inputs[0]
    found = ", ".join(f"{spec.name}: {spec.dtype} {list(spec.shape)}" for spec in inputs)
    raise _error(
        f"the model takes {found}; a folder of images feeds one uint8 input (batch, height, "
        "width, channels).",
        "images",
        "bake the preprocessing into the model at compile, or give an .npz of prepared inputs.",
    )


def load_pillow() -> Any:
    """Return Pillow's module ``Image``.

    Raises:
        InputError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise _error(
            "Pillow is not installed; it decodes images.",
            "images-dependency",
            "install it with: pip install 'edgeexit[images]'",
        ) from None
    return Image


def _decode(
    pillow: Any, path: Path, mode: str, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    try:
        with pillow.open(path) as image:
            picture = image.convert(mode)
            if size is not None:
                picture = picture.resize((size[1], size[0]), pillow.Resampling.BILINEAR)
            pixels = np.asarray(picture, dtype=np.uint8)
    except Exception as error:  # decoders raise many kinds
        raise _error(f"{path} cannot be decoded: {error}.", "image", "remove the file.") from None
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def _check_size(path: Path, image: npt.NDArray[np.uint8], wanted: tuple[int | str, ...]) -> None:
    sizes = zip(wanted, image.shape[:2], strict=True)
    if any(isinstance(dim, int) and dim != size for dim, size in sizes):
        size = "x".join(str(dim) for dim in wanted)
        raise _error(
            f"{path} is {image.shape[0]}x{image.shape[1]} (height x width); {size} was expected.",
            "image-size",
            "resize the images, or load them with package.module:function.",
        )

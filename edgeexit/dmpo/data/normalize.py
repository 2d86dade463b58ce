"""The scaling of pixels as the first layer of the model, so that no app can get it wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeexit.dmpo.config import TuneConfig
from edgeexit.dmpo.data.dataset import TuneData
from edgeexit.errors import InputError

_LARGEST_PIXEL = 255.0
_PREPROCESSOR = "preprocessor_config.json"
_MIDDLE = 0.5
"""Mean and deviation where nothing else is said: pixels become -1 to 1."""


class Normalize(nn.Module):
    """``(x / 255 - mean) / std`` a channel; a grey image feeds every channel of the trunk.

    Args:
        mean: Mean of each of the trunk's C channels, of pixels in 0..1.
        std: Standard deviation of each, above 0.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        shape = (1, len(mean), 1, 1)
        means = torch.tensor(tuple(mean), dtype=torch.float32).reshape(shape)
        deviations = torch.tensor(tuple(std), dtype=torch.float32).reshape(shape)
        # One product and one sum instead of three operators on every pixel.
        self.register_buffer("scale", 1.0 / (_LARGEST_PIXEL * deviations))
        self.register_buffer("offset", -means / deviations)

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(B, C, H, W) float32`` for ``(B, C or 1, H, W) uint8``."""
        return image.to(self.scale.dtype) * self.scale + self.offset


def build_normalize(config: TuneConfig, data: TuneData, channels: int) -> Normalize | None:
    """Return the scaling of a run's images, or None where the inputs are no uint8 images.

    Mean and deviation come from the config, else from ``preprocessor_config.json`` of the
    pretrained backbone, else they are 0.5.

    Args:
        config: The tuning run.
        data: Its data.
        channels: Channels that the backbone takes.

    Raises:
        InputError: The numbers do not fit the channels.
    """
    spec = data.inputs[0]
    if len(data.inputs) != 1 or spec.dtype != "uint8" or len(spec.shape) != 4:
        return None
    said = _beside_weights(config.backbone.source, config.backbone.revision)
    mean = config.data.mean or _numbers(said.get("image_mean"), above=-math.inf)
    std = config.data.std or _numbers(said.get("image_std"), above=0.0)
    if said.get("do_normalize") is False:
        mean, std = mean or (0.0,) * channels, std or (1.0,) * channels
    mean, std = mean or (_MIDDLE,) * channels, std or (_MIDDLE,) * channels
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise InputError(
                f"data.{name} has {len(values)} numbers; the backbone takes {channels} channels.",
                hint=f"give {channels} numbers.",
                code="tune.channels",
            )
    return Normalize(mean, std)


def _beside_weights(source: str | None, revision: str | None) -> dict[str, Any]:
    """Return what stands beside the pretrained weights, or nothing where there is no such file."""
    if source is None:
        return {}
    folder = Path(source).expanduser()
    path = folder / _PREPROCESSOR if folder.is_dir() else _hub_file(source, revision)
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _hub_file(source: str, revision: str | None) -> Path | None:
    try:
        from transformers.utils.hub import cached_file

        found = cached_file(source, _PREPROCESSOR, revision=revision)
    except Exception:  # no such model or file, no network: loading the weights says which
        return None
    return None if found is None else Path(found)


def _numbers(values: Any, *, above: float) -> tuple[float, ...] | None:
    """Return a JSON list of numbers above a limit as a tuple; None for anything else."""
    if not isinstance(values, list) or not values:
        return None
    if not all(type(value) in (int, float) and above < value < math.inf for value in values):
        return None
    return tuple(float(value) for value in values)

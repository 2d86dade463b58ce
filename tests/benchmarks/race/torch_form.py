"""A multi-exit model as PyTorch runs it: a sequence of modules, and exits beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn


@dataclass(frozen=True)
class TorchForm:
    """A model that hooks and plain PyTorch can run.

    Attributes:
        trunk: From images to the last exit's logits ``(B, C)``.
        layers: Names of the modules in ``trunk`` after which early exits read.
        heads: One module an early exit, from what that layer gives to logits ``(B, C)``.
        shape: Of one input, ``(1, ...)``.
        dtype: Numpy's name of its type.
    """

    trunk: nn.Sequential
    layers: tuple[str, ...]
    heads: tuple[nn.Module, ...]
    shape: tuple[int, ...]
    dtype: str = "uint8"

    @property
    def classes(self) -> int:
        """The number C of classes."""
        return int(self.all_logits(np.zeros(self.shape, self.dtype))[-1].shape[1])

    def all_logits(self, images: npt.NDArray[np.generic]) -> list[npt.NDArray[np.float32]]:
        """Return the ``(n, C)`` logits of every exit."""
        values, found, waiting = torch.from_numpy(images), [], list(self.heads)
        with torch.inference_mode():
            for name, part in self.trunk.named_children():
                values = part(values)
                if name in self.layers:
                    found.append(waiting.pop(0)(values).numpy())
        return [*found, values.numpy()]


def export_exits(model: nn.Module, shape: tuple[int, ...], exits: int, path: Path) -> None:
    """Write a model as ONNX, the batch dynamic.

    Args:
        model: Takes ``(B, ...) uint8``, returns the logits of every exit.
        shape: Of one input, ``(1, ...)``.
        exits: Their number; the outputs are ``exit_1`` and so on.
        path: The file.
    """
    torch.onnx.export(
        model.eval(),
        (torch.zeros((2, *shape[1:]), dtype=torch.uint8),),
        path,
        dynamo=True,
        opset_version=20,
        input_names=["image"],
        output_names=[f"exit_{number}" for number in range(1, exits + 1)],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
        external_data=False,
    )

"""In which type a training computes."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from edgeexit.dmpo.config import Precision
from edgeexit.errors import InputError
from edgeexit.targets.processor import read_processor

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class ComputeType:
    """The type of matrix products while training; weights and the optimizer stay float32.

    Attributes:
        device: ``cpu`` or ``cuda``.
        dtype: The type that autocast takes, or None for float32 throughout.
    """

    device: str
    dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the forward pass runs."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return what keeps float16 gradients from vanishing; it does nothing for other types."""
        return torch.amp.GradScaler(self.device, enabled=self.dtype == torch.float16)


def compute_type(precision: Precision, device: torch.device) -> ComputeType:
    """Return what ``[training] precision`` means on a device.

    ``auto`` is bfloat16 where the processor multiplies in it (AVX-512 BF16 or AMX; NVIDIA from
    Ampere on), else float32: there bfloat16 is emulated and slower.

    Raises:
        InputError: float16 on a processor: it has no fast arithmetic for it.
    """
    name = precision
    if precision == "auto":
        name = "bf16" if _computes_bf16(device) else "f32"
    if name == "fp16" and device.type != "cuda":
        raise InputError(
            f"training.precision is 'fp16' on the device {device.type!r}; it needs a GPU.",
            hint='set precision = "auto", which takes bfloat16 where the processor computes it.',
            code="tune.precision",
        )
    return ComputeType(device.type, _TYPES.get(name))


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return read_processor().computes_bf16

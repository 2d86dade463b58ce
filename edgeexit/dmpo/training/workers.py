"""The processes that train together: one, or several that torchrun or accelerate launched."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from edgeexit.errors import InputError


class Workers:
    """This process among those that train together.

    Args:
        device: ``auto`` takes a GPU where there is one.

    Attributes:
        device: Where this process computes.
        rank: Number of this process, from 0.
        world: Number of processes.

    Raises:
        InputError: ``cuda`` is asked for and there is none.
    """

    def __init__(self, device: Literal["auto", "cpu", "cuda"] = "auto") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "training.device is 'cuda' and torch finds no GPU.",
                hint='set device = "auto", or install a torch with CUDA.',
                code="tune.device",
            )
        # Autocast and scaling are the trainer's own; a launcher's default must not add a second.
        self._accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes

    @property
    def main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move a model to the device and, with several processes, let gradients be averaged."""
        prepared: nn.Module = self._accelerator.prepare_model(model)
        return prepared

    def local(self, model: nn.Module) -> AbstractContextManager[object]:
        """Return a context in which gradients stay on this process: more batches will follow."""
        context: AbstractContextManager[object] = self._accelerator.no_sync(model)
        return context

    def total(self, values: Sequence[float] | Tensor) -> list[float]:
        """Return the sums of ``values`` over all processes, in float64."""
        tensor = torch.as_tensor(values, dtype=torch.float64, device=self.device)
        if self.world > 1:
            tensor = self._accelerator.reduce(tensor, reduction="sum")
        numbers: list[float] = tensor.tolist()
        return numbers

    def gather(self, row: Tensor) -> Tensor:
        """Return the rows of all processes, ``(processes, n)``, on the CPU."""
        if self.world == 1:
            return row[None].cpu()
        rows: Tensor = self._accelerator.gather(row[None].to(self.device))
        return rows.cpu()

    def wait(self) -> None:
        """Wait until every process is here."""
        self._accelerator.wait_for_everyone()

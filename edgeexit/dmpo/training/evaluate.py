"""What a model answers, in float32 and evaluation mode."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.dmpo.model import MultiExitModel
from edgeexit.dmpo.training.workers import Workers

Batch = tuple[Mapping[str, Tensor], Tensor]
"""Inputs by name, and ``(B,) int64`` labels."""


def exit_logits(model: MultiExitModel, batches: Iterable[Batch]) -> npt.NDArray[np.float32]:
    """Return the logits of every exit on every sample, ``(K, n, C) float32``.

    Args:
        model: Left in the mode in which it was.
        batches: The samples in order, e.g. ``Batches(..., shuffle=False).epoch(0)``.
    """
    with evaluating(model):
        parts = [_stacked(model, inputs) for inputs, _ in batches]
    return torch.cat(parts, dim=1).cpu().numpy()


def accuracies(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """Return the share of samples that each exit gets right.

    Args:
        logits: ``(K, n, C)``.
        labels: ``(n,)``.
    """
    return tuple(float(share) for share in (logits.argmax(axis=2) == labels).mean(axis=1))


def validate(
    model: MultiExitModel, batches: Iterable[Batch], workers: Workers
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return accuracy and mean cross-entropy (nats) of each exit over the samples of all processes.

    Both are empty where there are no samples.
    """
    exits = len(model.exits)
    sums = torch.zeros(2 * exits + 1, dtype=torch.float64, device=workers.device)
    with evaluating(model):
        for inputs, labels in batches:
            logits = _stacked(model, inputs)
            truth = labels.to(logits.device).expand(exits, -1)
            right = (logits.argmax(dim=2) == truth).sum(dim=1)
            losses = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none")
            total = losses.view(exits, -1).double().sum(dim=1)
            sums += torch.cat([right.double(), total, sums.new_tensor([len(labels)])])
    *totals, count = workers.total(sums)
    if not count:
        return (), ()
    means = [total / count for total in totals]
    return tuple(means[:exits]), tuple(means[exits:])


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, without gradients, and every part back after it."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def arguments(model: MultiExitModel, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Return a batch's inputs in the order of the backbone's, on the device of its weights."""
    device = next(model.parameters()).device
    chosen = [inputs[each.name] for each in model.backbone.inputs]
    return tuple(value.to(device, non_blocking=True) for value in chosen)


def _stacked(model: MultiExitModel, inputs: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(model(*arguments(model, inputs))).float()

"""The two losses, the training loop, and logits over a data set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fashion import SIDE, Split
from torch import Tensor, nn
from torch.nn import functional

BATCH = 128
PEAK_RATE = 1.5e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.1
SHIFT = 1
"""Training images move by up to this many pixels along each axis."""

START_WEIGHTS = (0.01, 0.01, 1.0, 2.0)
END_WEIGHTS = (1.5, 1.0, 0.2475, 0.2675)
"""DMPO's gamma for exits 1 to 4 at the first and the last step, as in its public code."""

Loss = Callable[[tuple[Tensor, ...], Tensor, float], Tensor]


def joint_loss(logits: tuple[Tensor, ...], labels: Tensor, progress: float) -> Tensor:
    """Return the sum of all exits' mean cross-entropies: the plain twin's loss."""
    del progress
    return torch.stack([functional.cross_entropy(exit_, labels) for exit_ in logits]).sum()


def decoupled_loss(logits: tuple[Tensor, ...], labels: Tensor, progress: float) -> Tensor:
    """Return DMPO's loss: sum over exits k of gamma_k(progress) * mean_i(a_ki * CE_ki).

    ``a_ki`` is sigmoid(CE_{k-1,i}), so that an exit attends to what the one before it gets wrong;
    it is 1 at the first exit. ``progress`` runs from 0 to 1 and moves gamma from the deep exits
    to the early ones.
    """
    losses = [functional.cross_entropy(exit_, labels, reduction="none") for exit_ in logits]
    attention = [torch.ones_like(losses[0]), *(torch.sigmoid(loss) for loss in losses[:-1])]
    total = torch.zeros(())
    for start, end, factor, loss in zip(START_WEIGHTS, END_WEIGHTS, attention, losses, strict=True):
        total = total + (start + (end - start) * progress) * (factor * loss).mean()
    return total


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return ``images`` ``(B, 1, 28, 28) uint8``, each shifted at random."""
    batch = len(images)
    padded = functional.pad(images, (SHIFT,) * 4)
    offsets = torch.randint(0, 2 * SHIFT + 1, (2, batch, 1), generator=generator)
    rows, columns = offsets + torch.arange(SIDE)
    sample = torch.arange(batch)[:, None, None]
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def batches(split: Split, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of augmented images and labels in random order; a short rest is dropped."""
    images, labels = torch.from_numpy(split.image), torch.from_numpy(split.y)
    order = torch.randperm(len(split), generator=generator)
    size = min(BATCH, len(split))
    for rows in torch.split(order[: len(order) // size * size], size):
        yield augmented(images[rows], generator), labels[rows]


def rate(progress: float) -> float:
    """Return the learning rate at ``progress`` in 0..1: linear warm-up, then a cosine to zero."""
    if progress < WARM_UP:
        return PEAK_RATE * progress / WARM_UP
    return float(PEAK_RATE * 0.5 * (1 + np.cos(np.pi * (progress - WARM_UP) / (1 - WARM_UP))))


def train(model: nn.Module, split: Split, loss_of: Loss, *, epochs: int, seed: int) -> float:
    """Fit ``model`` to ``split`` in bfloat16 autocast and return the seconds it took."""
    generator = torch.Generator().manual_seed(seed)
    decayed = [value for value in model.parameters() if value.ndim > 1]
    others = [value for value in model.parameters() if value.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, weight_decay=0.0, fused=True)
    steps = epochs * (len(split) // min(BATCH, len(split)))
    step, started = 0, time.perf_counter()
    for epoch in range(epochs):
        for images, labels in batches(split, generator):
            progress = step / max(steps - 1, 1)
            for group in optimizer.param_groups:
                group["lr"] = rate(progress)
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model(images)
            loss = loss_of(tuple(logits.float() for logits in outputs), labels, progress)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
        seconds = time.perf_counter() - started
        print(f"  epoch {epoch + 1}/{epochs}: loss {loss.item():.3f}, {seconds:.0f} s", flush=True)
    return time.perf_counter() - started


def logits_of(model: nn.Module, split: Split) -> npt.NDArray[np.float32]:
    """Return the float32 logits of every exit, ``(K, n, CLASSES)``."""
    model.eval()
    with torch.inference_mode():
        parts = [
            torch.stack(model(images)) for images in torch.split(torch.from_numpy(split.image), 500)
        ]
    logits: npt.NDArray[np.float32] = torch.cat(parts, dim=1).numpy()
    return logits

"""Seeds, and the state of the random generators as a tensor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

_MERSENNE_BYTES = 624 * 4
"""Length of the state of numpy's global generator, MT19937."""

_SCALARS = np.dtype([("position", "<i8"), ("has_gauss", "<i8"), ("gauss", "<f8")])


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch and numpy inside the block; what the caller had is restored after it.

    On a GPU torch takes deterministic kernels inside the block, where it has them.
    """
    before = np.random.get_state()
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus), _deterministic(device):
        reseed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


@contextlib.contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    # cuBLAS repeats its sums only with a workspace of fixed size; it reads this when first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


def reseed(seed: int) -> None:
    """Seed the global generators of torch and numpy."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


def random_state(device: torch.device) -> Tensor:
    """Return the state of all generators that a training draws from, ``(n,) uint8``."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    scalars = np.array((position, has_gauss, gauss), _SCALARS)
    numpy_bytes = np.asarray(keys, "<u4").tobytes() + scalars.tobytes()
    parts = [torch.frombuffer(bytearray(numpy_bytes), dtype=torch.uint8), torch.get_rng_state()]
    if device.type == "cuda":
        parts.append(torch.cuda.get_rng_state(device))
    return torch.cat(parts)


def restore_random_state(state: Tensor, device: torch.device) -> None:
    """Put the generators back to what :func:`random_state` returned.

    Raises:
        ValueError: It is the state of other generators.
    """
    here = len(random_state(device))
    if state.shape != (here,):
        raise ValueError(f"a random state of shape {tuple(state.shape)}; ({here},) was expected")
    data = state.cpu().numpy().tobytes()
    start = _MERSENNE_BYTES + _SCALARS.itemsize
    keys = np.frombuffer(data[:_MERSENNE_BYTES], "<u4")
    scalars = np.frombuffer(data[_MERSENNE_BYTES:start], _SCALARS)[0].item()
    np.random.set_state(("MT19937", keys, *scalars))
    end = start + len(torch.get_rng_state())
    torch.set_rng_state(state[start:end].cpu().clone())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[end:].cpu().clone(), device)

"""Random inputs for a model, where no real ones are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import BATCH, TensorSpec, dim_symbol

DEFAULT_LENGTH = 16
"""Size of a dynamic axis other than the batch, where no samples tell it."""


def random_inputs(
    specs: Sequence[TensorSpec], count: int, seed: int = 0
) -> dict[str, npt.NDArray[Any]]:
    """Return ``count`` random samples; dynamic axes other than the batch get 16."""
    symbols = {s for spec in specs for d in spec.shape if (s := dim_symbol(d))}
    dims = {s: count if s == BATCH else DEFAULT_LENGTH for s in symbols}
    made = {spec.name: random_array(spec, spec.resolve(dims), seed) for spec in specs}
    if BATCH in symbols:
        return made
    return {
        spec.name: np.concatenate([random_array(spec, spec.resolve(dims), i) for i in range(count)])
        if spec.batch_axis == 0
        else made[spec.name]
        for spec in specs
    }


def random_array(spec: TensorSpec, shape: Sequence[int], seed: int) -> npt.NDArray[Any]:
    """Return normal floats, bytes, or the integers 0 and 1, which are valid token numbers."""
    random = np.random.default_rng(seed)
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return random.standard_normal(shape).astype(spec.dtype)
    return random.integers(0, 256 if spec.dtype == "uint8" else 2, shape).astype(spec.dtype)

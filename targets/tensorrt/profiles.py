"""For which sizes a plan is built: its optimization profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeexit.bundle.specs import BATCH, TensorSpec, dim_symbol
from edgeexit.targets.info import EngineOptions
from edgeexit.targets.tensorrt.job import Profile

Range = tuple[int, int, int]

DEFAULT_BATCHES: Range = (1, 8, 64)
"""Batch sizes where nobody says which: a guess, for engines opened outside a bundle."""

DEFAULT_SIZES: Range = (1, 128, 512)
"""Likewise for any other symbol, such as a text's length."""


def profiles_of(inputs: Sequence[TensorSpec], options: EngineOptions) -> tuple[Profile, ...]:
    """Return the profiles of a stage's plan.

    Where the batch may be 1 and more, a plan has two, so that its weights are held once for both:
    kernels chosen for one sample, and those chosen for the range. So options that fix the batch to
    1 and options that leave it open give the same profiles wherever a range is known.

    Args:
        inputs: Tensors the stage reads.
        options: Which symbols are fixed, and the ranges of those that are not.

    Raises:
        InputError: A dimension is malformed.
    """
    found = {dim_symbol(dim) for spec in inputs for dim in spec.shape} - {None}
    symbols = sorted(name for name in found if name is not None)
    if not symbols:
        for spec in inputs:
            spec.resolve({})
        return ()
    ranges = {symbol: _range(symbol, options) for symbol in symbols}
    if BATCH not in ranges or options.dims.get(BATCH, 1) != 1:
        return (_profile(inputs, ranges),)
    batches = options.ranges.get(BATCH, ranges[BATCH])
    single = _profile(inputs, {**ranges, BATCH: (1, 1, 1)})
    if batches[2] == 1:
        return (single,)
    return single, _profile(inputs, {**ranges, BATCH: batches})


def _range(symbol: str, options: EngineOptions) -> Range:
    if symbol in options.dims:
        return (options.dims[symbol],) * 3
    default = DEFAULT_BATCHES if symbol == BATCH else DEFAULT_SIZES
    return options.ranges.get(symbol, default)


def _profile(inputs: Sequence[TensorSpec], ranges: Mapping[str, Range]) -> Profile:
    smallest, typical, largest = (
        {symbol: sizes[place] for symbol, sizes in ranges.items()} for place in range(3)
    )
    return {
        spec.name: (spec.resolve(smallest), spec.resolve(typical), spec.resolve(largest))
        for spec in inputs
    }

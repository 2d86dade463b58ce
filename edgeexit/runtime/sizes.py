"""The sizes of a model's symbols, read off the shapes of the arrays given."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeexit.bundle.specs import BATCH, Dim, TensorSpec, dim_symbol, resolve_dim
from edgeexit.errors import InputError

_FACTOR = re.compile(r"(\d+)\*")


def solve_sizes(specs: Sequence[TensorSpec], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Return the size of each symbol, and of the batch.

    A model of a fixed batch takes any whole number of its batches; they are run one by one.

    Args:
        specs: The model's inputs.
        shapes: The shape of the array given for each.

    Raises:
        InputError: A shape does not fit its input, or two inputs contradict each other.
    """
    sizes: dict[str, int] = {}
    origin: dict[str, str] = {}
    for spec, shape in zip(specs, shapes, strict=True):
        if len(shape) != len(spec.shape):
            raise _misfit(spec, shape)
        for axis, (dim, size) in enumerate(zip(spec.shape, shape, strict=True)):
            symbol = dim_symbol(dim)
            if symbol is None and axis == spec.batch_axis:
                symbol, dim = BATCH, f"{dim}*{BATCH}"
            value = size if symbol is None else _solve(dim, size)
            if size == 0:
                raise _empty(spec, shape)
            if value is None or (symbol is None and size != dim):
                raise _misfit(spec, shape)
            if symbol is not None and sizes.setdefault(symbol, value) != value:
                raise _contradiction(symbol, spec, value, origin[symbol], sizes[symbol])
            if symbol is not None:
                origin.setdefault(symbol, spec.name)
    sizes.setdefault(BATCH, 1)
    return sizes


def _solve(dim: Dim, size: int) -> int | None:
    """Return the value of the symbol in ``dim`` for which it is ``size``, or None."""
    symbol = dim_symbol(dim) or ""
    factor = int(match[1]) if (match := _FACTOR.match(str(dim))) else 1
    offset = resolve_dim(dim, {symbol: 0})
    value, rest = divmod(size - offset, factor)
    return value if rest == 0 and value >= 1 else None


def _misfit(spec: TensorSpec, shape: tuple[int, ...]) -> InputError:
    wanted = ", ".join(str(dim) for dim in spec.shape)
    return InputError(
        f"input {spec.name!r} has shape {shape}, but the model takes ({wanted}).",
        hint="give an array of that shape; one axis less is taken as a single sample.",
        code="input.shape",
    )


def _empty(spec: TensorSpec, shape: tuple[int, ...]) -> InputError:
    return InputError(
        f"input {spec.name!r} has shape {shape} and so holds nothing; one sample or more is right.",
        hint="skip the call where there is no data.",
        code="input.empty",
    )


def _contradiction(symbol: str, spec: TensorSpec, value: int, other: str, size: int) -> InputError:
    return InputError(
        f"input {spec.name!r} says that {symbol} is {value}, but input {other!r} says {size}.",
        hint="give all inputs for the same samples and sizes.",
        code="input.batch" if symbol == BATCH else "input.shape",
    )

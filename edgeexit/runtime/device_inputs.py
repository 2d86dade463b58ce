"""Inputs that lie in a GPU's memory: what can be checked of them without reading them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeexit.errors import InputError
from edgeexit.targets.buffer import storage_dtype

_DLPACK_HOSTS = (1, 3)
"""``kDLCPU`` and ``kDLCUDAHost``: pinned memory is the CPU's, and numpy reads it."""


class DeviceInput:
    """Another library's array in the GPU's memory, with the attributes that checks ask for.

    Args:
        array: Offers ``__dlpack__`` or ``__cuda_array_interface__``, and has a shape and a dtype.

    Attributes:
        array: As given.
        shape: Its shape.
        dtype: The numpy type that holds its elements (``uint16`` for ``bfloat16``).

    Raises:
        InputError: It tells no shape or no type that numpy knows.
    """

    __slots__ = ("array", "dtype", "shape")

    def __init__(self, array: Any) -> None:
        self.array = array
        try:
            self.shape: tuple[int, ...] = tuple(int(size) for size in array.shape)
            # "torch.float32" and numpy's own "float32" end alike.
            self.dtype: np.dtype[Any] = storage_dtype(str(array.dtype).rpartition(".")[2])
        except Exception as error:
            raise InputError(
                f"a {type(array).__name__} on the GPU has no shape and element type that can be "
                f"used: {error}",
                hint="give an array of torch, cupy, jax or another library of the array API.",
                code="input.type",
            ) from error

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


def is_on_device(array: object) -> bool:
    """Tell whether an object may be an array in a GPU's memory; DLPack tells those of the CPU."""
    if isinstance(array, np.ndarray):
        return False
    place = getattr(array, "__dlpack_device__", None)
    if place is not None:
        return place()[0] not in _DLPACK_HOSTS
    return hasattr(array, "__cuda_array_interface__")

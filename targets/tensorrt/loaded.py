"""A deserialized TensorRT engine: the weights, once for all who use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeexit.errors import TargetError
from edgeexit.targets.tensorrt.api import Api, Tensor
from edgeexit.targets.tensorrt.job import Profile


class Loaded:
    """A deserialized engine: its weights, once for all runners. Threads may share it.

    Args:
        api: What loaded it.
        engine: The engine.
        profiles: Its optimization profiles; empty where all its shapes are fixed.

    Attributes:
        tensors: Its inputs and outputs.
        scratch_bytes: Scratch memory that a context of it needs.
        operations: (operation, precision) of its layers, where the builder told.
    """

    def __init__(self, api: Api, engine: Any, profiles: Sequence[Profile]) -> None:
        # First, so that it goes last: an engine needs its runtime and its logger.
        self.engine = engine
        self.api = api
        self.profiles = tuple(profiles)
        self.tensors: tuple[Tensor, ...] = api.tensors(engine)
        self.scratch_bytes = api.scratch_bytes(engine)
        self.operations: tuple[tuple[str, str], ...] = ()

    def profile(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Return the first profile that holds the inputs' shapes.

        Raises:
            TargetError: None does.
        """
        if not self.profiles:
            return 0
        for index, profile in enumerate(self.profiles):
            if all(_holds(profile[name], shape) for name, shape in shapes.items()):
                return index
        largest = self.profiles[-1]
        unfit = [
            f"{name} {shape} (from {largest[name][0]} to {largest[name][2]})"
            for name, shape in sorted(shapes.items())
            if not _holds(largest[name], shape)
        ]
        raise TargetError(
            f"the engine was not built for inputs of these shapes: {', '.join(unfit)}.",
            hint="give smaller batches, or compile the bundle for larger ones (batch_buckets in "
            "the device file).",
            code="target.sizes",
        )


def unloadable(what: str, api: Api) -> TargetError:
    """Return the error for a plan that this GPU and TensorRT do not load."""
    return TargetError(
        f"{what} was built here, but {api.name} {api.version} does not load it: {api.log.reason}",
        hint="build again with `edgeexit build --rebuild`; if that does not help, compile the "
        "bundle again.",
        code="target.plan",
    )


def _holds(sizes: tuple[tuple[int, ...], ...], shape: tuple[int, ...]) -> bool:
    return all(
        low <= size <= high for low, size, high in zip(sizes[0], shape, sizes[2], strict=True)
    )

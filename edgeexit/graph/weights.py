"""One weights file for all graphs of a bundle."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

WEIGHTS_FILE = "weights.bin"
"""Name of the file; it lies beside the graphs, since engines refuse external data behind ``..``."""

_INLINE_BYTES = 1024
"""Smaller tensors stay in the graphs: engines want shapes and scalars there."""

_ALIGNMENT = 64


def externalize_weights(model: ir.Model, folder: Path) -> None:
    """Write the large initializers of a model to one file and let the model refer to it.

    Tensors are written one after the other, so no more than one is in memory at a time; equal
    tensor objects are written once. All models made from this one share the file.

    Args:
        model: Changed in place: its large initializers become external tensors.
        folder: Where ``weights.bin`` is written, and where the graphs must be saved.
    """
    users: dict[int, list[ir.Value]] = {}
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.nbytes >= _INLINE_BYTES:
            users.setdefault(id(value.const_value), []).append(value)
    with (folder / WEIGHTS_FILE).open("wb") as file:
        for values in users.values():
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            offset = file.tell()
            tensor = values[0].const_value
            if tensor is None:
                raise AssertionError("the initializers changed while they were written")
            file.write(tensor.tobytes())
            for value in values:
                value.const_value = ir.ExternalTensor(
                    WEIGHTS_FILE,
                    offset,
                    tensor.nbytes,
                    tensor.dtype,
                    shape=ir.Shape(list(tensor.shape.numpy())),
                    name=value.name or "",
                    base_dir=folder,
                )

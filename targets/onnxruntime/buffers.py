"""Host buffers as ONNX Runtime sees them: bound in place, never copied.

A binding holds the address alone: the runner keeps the buffer alive.
"""

from __future__ import annotations

import onnxruntime

from edgeexit.errors import TargetError
from edgeexit.targets.base import Buffer
from edgeexit.targets.buffer import HostBuffer


def bind_input(binding: onnxruntime.IOBinding, name: str, buffer: Buffer) -> None:
    """Let the named input read the buffer's own memory.

    Raises:
        TargetError: The buffer is not in host memory.
    """
    held = _host(buffer)
    address = held.array.ctypes.data
    binding.bind_input(name, "cpu", 0, held.storage, list(held.shape), address)


def bind_output(binding: onnxruntime.IOBinding, name: str, buffer: Buffer) -> None:
    """Let the named output be written into the buffer's own memory.

    Raises:
        TargetError: The buffer is not in host memory.
    """
    held = _host(buffer)
    address = held.array.ctypes.data
    binding.bind_output(name, "cpu", 0, held.storage, list(held.shape), address)


def _host(buffer: Buffer) -> HostBuffer:
    if not isinstance(buffer, HostBuffer) or buffer.dtype == "bfloat16":
        raise TargetError(
            f"ONNX Runtime cannot bind a {type(buffer).__name__} of {buffer.dtype} in place.",
            hint="bind buffers of runners on the same target.",
            code="target.buffer",
        )
    return buffer

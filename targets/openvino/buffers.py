"""Host buffers as OpenVINO sees them: tensors over the same memory, never copied."""

from __future__ import annotations

import openvino

from edgeexit.errors import TargetError
from edgeexit.targets.base import Buffer
from edgeexit.targets.buffer import HostBuffer


def tensor_over(buffer: Buffer) -> openvino.Tensor:
    """Return a tensor over the buffer's own memory; keep the buffer alive as long as the tensor.

    Raises:
        TargetError: The buffer is not in host memory.
    """
    if not isinstance(buffer, HostBuffer):
        raise TargetError(
            f"OpenVINO cannot bind a {type(buffer).__name__} in place.",
            hint="bind buffers of runners on the same target.",
            code="target.buffer",
        )
    if buffer.dtype == "bfloat16":
        return openvino.Tensor(buffer.array, list(buffer.shape), openvino.Type.bf16)
    return openvino.Tensor(buffer.array, shared_memory=True)

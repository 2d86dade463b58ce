"""The whole graph on its way through a compilation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass
class SourceGraph:
    """The whole graph on its way through the pipeline.

    Attributes:
        graph: As it will be sliced.
        float_path: A copy in float32, where the graph is of a lower precision.
        float32_nodes: Nodes that stay float32 in a half-precision graph, and why, by name.
    """

    graph: ir.Model
    float_path: Path | None = None
    float32_nodes: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> tuple[TensorSpec, ...]:
        """Return the specs of the model's inputs.

        Raises:
            ModelError: An input has no shape, or a fixed batch of more than 1.
        """
        from edgeexit.graph.axes import describe_input

        specs = tuple(describe_input(value) for value in self.graph.graph.inputs)
        if not any(spec.batch_axis == 0 for spec in specs):
            shapes = ", ".join(f"{spec.name} {spec.shape}" for spec in specs)
            raise ModelError(
                f"the batch is fixed: the inputs are {shapes}.",
                hint="export the model with a dynamic batch axis, or with a batch of 1.",
                code="model.batch",
            )
        return specs

    @property
    def class_count(self) -> int | None:
        """Number of classes of the last exit, or None where it is not known yet."""
        from edgeexit.graph.gate_inputs import exit_values

        shape = exit_values(self.graph.graph)[-1].shape
        size = None if shape is None else shape[-1]
        return size if isinstance(size, int) else None

"""Wherever a multi-exit model comes from, an ONNX graph in memory comes out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from edgeexit.errors import InputError, ModelError
from edgeexit.graph.export_inputs import InputShapes, Samples, shapes_by_name
from edgeexit.graph.export_onnx import read_onnx
from edgeexit.graph.shapes import infer_shapes, name_symbols

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def load_model(
    source: str | Path,
    *,
    workdir: Path,
    exits: Sequence[str] | None = None,
    input_shape: InputShapes | None = None,
    samples: Samples | None = None,
) -> ir.Model:
    """Load a multi-exit model as an ONNX graph.

    Args:
        source: A ``.onnx`` file, a ``.pt2`` file (a torch ExportedProgram), or
            ``package.module:factory``, a function without arguments that returns a torch module
            whose forward returns its exits' logits as a sequence, a dict or a dataclass.
        workdir: A folder for intermediate files; it must live as long as the model.
        exits: Names of the exits, where the user gave them. They name the outputs of a torch
            module that returns as many without names; :func:`~edgeexit.graph.normalize.normalize`
            chooses among the outputs.
        input_shape: Shapes of the inputs. A torch module needs them, or ``samples``; in an ONNX
            graph they fix dynamic axes.
        samples: Sample inputs, which tell shapes and dtypes of a torch module's inputs.

    Returns:
        The model; large weights in external files stay memory-mapped.

    Raises:
        ModelError: The source is missing, damaged, unsafe or cannot be exported.
        InputError: ``input_shape`` does not fit the model's inputs.
    """
    text = str(source)
    if text.endswith(".onnx"):
        model = read_onnx(Path(text))
    elif text.endswith(".pt2"):
        from edgeexit.graph.export_pt2 import read_pt2

        model = read_pt2(Path(text), workdir, exits)
    elif _FACTORY.fullmatch(text):
        from edgeexit.graph.export_torch import export_factory

        return export_factory(text, exits, input_shape, samples)
    else:
        raise ModelError(
            f"{text!r} is not a model: a .onnx file, a .pt2 file or package.module:factory is one.",
            hint="export the model with torch.onnx.export, or name the function that builds it.",
            code="model.source",
        )
    name_symbols(model)
    if input_shape is not None:
        fix_shapes(model, input_shape)
    return model


def fix_shapes(model: ir.Model, input_shape: InputShapes) -> None:
    """Fix dynamic axes of a model's inputs at the sizes given; None and names leave an axis as is.

    Raises:
        InputError: An input is unknown, or a shape contradicts the model's.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    shapes = shapes_by_name(input_shape, tuple(inputs))
    for name, shape in shapes.items():
        value = inputs[name]
        if value.shape is None:
            value.shape = ir.Shape(shape)
            continue
        pairs = list(zip(value.shape, shape, strict=False))
        contradiction = any(
            isinstance(own, int) and isinstance(asked, int) and own != asked for own, asked in pairs
        )
        if len(value.shape) != len(shape) or contradiction:
            raise InputError(
                f"shape {list(shape)} does not fit input {name!r} of shape {value.shape}.",
                hint="give a number only for the dynamic axes, or repeat the model's own.",
                code="input.shape",
            )
        value.shape = ir.Shape([asked if isinstance(asked, int) else own for own, asked in pairs])
    name_symbols(model)
    infer_shapes(model)

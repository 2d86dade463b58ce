"""A torch module to an ONNX graph. The only file of the graph room that imports torch."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeexit.bundle.specs import BATCH
from edgeexit.errors import ModelError
from edgeexit.graph.export_inputs import InputShapes, Samples, example_inputs
from edgeexit.graph.shapes import name_symbols, set_symbols

OPSET = 20
"""The opset that every target reads; fp16-typed quantization needs 19 at least."""

_ROWS = 2
"""Samples that a module is traced with."""


def import_torch() -> Any:
    """Return torch, with what its ONNX exporter needs.

    Raises:
        ModelError: torch or onnxscript is not installed.
    """
    try:
        importlib.import_module("onnxscript")
        return importlib.import_module("torch")
    except ImportError as error:
        raise ModelError(
            f"this model needs PyTorch and its ONNX exporter, and {error.name} is not installed.",
            hint="pip install 'edgeexit[tune]', or export the model to ONNX elsewhere.",
            code="model.torch-missing",
        ) from error


def export_factory(
    source: str,
    exits: Sequence[str] | None,
    input_shape: InputShapes | None,
    samples: Samples | None,
) -> ir.Model:
    """Build a torch module with ``package.module:factory`` and export it to ONNX.

    Args:
        source: ``package.module:factory``; the factory takes no arguments.
        exits: Names for the outputs, if they are as many and have none.
        input_shape: Shapes of the inputs, float32; ``None`` or ``"batch"`` for a dynamic batch.
        samples: Sample inputs by name (or anything with one entry, for a sole input).

    Raises:
        ModelError: The factory fails, its module does not run, or cannot be exported.
        InputError: Neither shapes nor samples are given, or they do not fit.
    """
    torch = import_torch()
    module = _build(source, torch).eval()
    names = _input_names(module)
    arrays, dynamic = example_inputs(names, input_shape, samples)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with _quiet(), torch.no_grad():
        outputs = _run(module, tensors, source)
        labels = _output_names(_flatten(outputs), exits)
        _register_dataclasses(torch, outputs)
        program = _export(torch, module, tensors, dynamic, source)
    model = convert_program(program, labels)
    _name_axes(model, dynamic)
    return model


def export_module(
    module: Any, examples: Mapping[str, npt.NDArray[Any]], exits: Sequence[str] | None = None
) -> ir.Model:
    """Export a torch module that takes its inputs by position; the batch stays dynamic.

    Args:
        module: A ``torch.nn.Module``; its forward may take ``*inputs``.
        examples: An example of each input by the name it gets in the graph, in the order of
            forward, samples along axis 0.
        exits: Names for the outputs, if they are as many and have none.

    Raises:
        ModelError: The module does not run on the examples, or cannot be exported.
    """
    torch = import_torch()
    source = type(module).__name__
    # torch specialises a batch of 1.
    rows = {name: np.resize(array, (_ROWS, *array.shape[1:])) for name, array in examples.items()}
    tensors = tuple(torch.from_numpy(array) for array in rows.values())
    shapes = torch.export.ShapesCollection()
    for tensor in tensors:
        shapes[tensor] = {0: torch.export.Dim(BATCH)}
    training = module.training
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(
                module.eval(), tensors, dynamic_shapes=shapes, strict=False
            )
    except Exception as error:
        raise _export_error(error, source) from error
    finally:
        module.train(training)
    return convert_program(program, exits, tuple(examples))


def convert_program(
    program: Any, exits: Sequence[str] | None = None, inputs: Sequence[str] | None = None
) -> ir.Model:
    """Convert an ExportedProgram to ONNX.

    Args:
        program: The program.
        exits: Names for the outputs, if they are as many and have none.
        inputs: Names for the inputs; their own if None.

    Raises:
        ModelError: An operator has no ONNX counterpart.
    """
    torch = import_torch()
    tree = importlib.import_module("torch.utils._pytree")
    spec = program.call_spec.out_spec
    names = _output_names(_flatten(tree.tree_unflatten(list(range(spec.num_leaves)), spec)), exits)
    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=inputs,
                output_names=names,
                verbose=False,
            )
    except Exception as error:
        raise ModelError(
            f"torch cannot convert the model to ONNX: {_reason(error)}.",
            hint="replace the operator it names, or export the model to ONNX yourself.",
            code="model.export",
        ) from error
    model: ir.Model = exported.model
    name_symbols(model)
    return model


def _build(source: str, torch: Any) -> Any:
    """Call the factory."""
    module_name, _, attribute = source.partition(":")
    try:
        factory: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
        module = factory()
    except Exception as error:
        raise ModelError(
            f"{source} could not be built: {type(error).__name__}: {_reason(error)}.",
            hint="the part before the colon must be importable (PYTHONPATH, installed), the part "
            "after it a function without arguments.",
            code="model.factory",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"{source} returned a {type(module).__name__}, not a torch.nn.Module.",
            hint="name a function that returns the model.",
            code="model.factory",
        )
    return module


def _input_names(module: Any) -> tuple[str, ...]:
    """Return the names of the arguments of forward, those without defaults first to last."""
    parameters = inspect.signature(module.forward).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _run(module: Any, tensors: Mapping[str, Any], source: str) -> Any:
    """Run the module once, so that its own errors are told apart from the exporter's."""
    try:
        return module(**tensors)
    except Exception as error:
        shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items())
        raise ModelError(
            f"{source} does not run on {shapes}: {type(error).__name__}: {_reason(error)}.",
            hint="check the input shapes and dtypes; integer inputs need samples (--data).",
            code="model.forward",
        ) from error


def _flatten(outputs: Any, name: str = "") -> list[tuple[str, Any]]:
    """Return (name, leaf) pairs of nested outputs; sequence items are named by their position.

    Leaves are tensors, or the positions that stand for them; None, numbers of other types and
    strings are skipped.
    """
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, Mapping):
        fields = [field.name for field in dataclasses.fields(outputs)]
        outputs = {field: getattr(outputs, field) for field in fields}
    if isinstance(outputs, Mapping):
        items = [(f"{name}_{key}".lstrip("_"), item) for key, item in outputs.items()]
    elif isinstance(outputs, list | tuple):
        items = [(f"{name or 'exit'}_{i}", item) for i, item in enumerate(outputs, start=1)]
    elif isinstance(outputs, int) or hasattr(outputs, "shape"):
        return [(name or "output", outputs)]
    else:
        return []
    return [pair for key, item in items for pair in _flatten(item, key)]


def _register_dataclasses(torch: Any, outputs: Any) -> None:
    """Tell torch's exporter how to take dataclasses among the outputs apart."""
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, Mapping):
        with suppress(ValueError):  # registered before
            torch.export.register_dataclass(type(outputs))
        outputs = [getattr(outputs, field.name) for field in dataclasses.fields(outputs)]
    for item in outputs if isinstance(outputs, list | tuple) else ():
        _register_dataclasses(torch, item)


def _output_names(leaves: list[tuple[str, Any]], exits: Sequence[str] | None) -> list[str]:
    """Return the outputs' names: their own, or those of the exits where they have none."""
    names = [name for name, _ in leaves]
    unnamed = names == [f"exit_{number}" for number in range(1, len(names) + 1)]
    if exits is not None and unnamed and len(exits) == len(names):
        return list(exits)
    return names


def _export(
    torch: Any,
    module: Any,
    tensors: Mapping[str, Any],
    dynamic: Mapping[str, Mapping[int, str]],
    source: str,
) -> Any:
    """Trace the module with its dynamic axes."""
    names = sorted({name for axes in dynamic.values() for name in axes.values()})
    dims = {name: torch.export.Dim(name) for name in names}
    shapes = {key: {a: dims[name] for a, name in axes.items()} for key, axes in dynamic.items()}
    try:
        return torch.export.export(module, (), dict(tensors), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise _export_error(error, source) from error


def _name_axes(model: ir.Model, dynamic: Mapping[str, Mapping[int, str]]) -> None:
    """Give dynamic axes the names asked for; torch replaces them by symbols of its own."""
    renamed: dict[str, int | str] = {}
    for value in model.graph.inputs:
        for axis, name in dynamic.get(str(value.name), {}).items():
            dim = value.shape[axis] if value.shape is not None else None
            if isinstance(dim, ir.SymbolicDim) and dim.value != BATCH:
                renamed[str(dim.value)] = name
    set_symbols(model, renamed)
    name_symbols(model)


def _export_error(error: Exception, source: str) -> ModelError:
    """Say what an exporter's error means for the model's author."""
    text = f"{type(error).__name__} {error}"
    if "DataDependent" in text or "data-dependent" in text or "vmap" in text:
        return ModelError(
            f"{source} cannot be exported: its forward decides by the values of tensors "
            f"({_reason(error)}).",
            hint="compute all exits without leaving early and return all logits; edgeexit adds "
            "the decision itself.",
            code="model.control-flow",
        )
    if "Constraints violated" in text or "specialized" in text:
        return ModelError(
            f"{source} works for one size only of an axis that should be dynamic: "
            f"{_reason(error)}.",
            hint="fix that size in --input-shape, or take sizes from x.shape in forward.",
            code="model.static-shape",
        )
    return ModelError(
        f"{source} cannot be exported: {_reason(error)}.",
        hint="torch.export.export(model, (), inputs, strict=False) must succeed.",
        code="model.export",
    )


def _reason(error: BaseException) -> str:
    """Return the innermost cause in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notes; they are about its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)

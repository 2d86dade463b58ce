"""Reading an ONNX file that may be damaged or hostile."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from edgeexit.errors import ModelError

_DAMAGE = (
    DecodeError,
    IndexError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    onnx.checker.ValidationError,
    ir.serde.SerdeError,
)
"""What parsers raise on damaged bytes; invalid names come as UnicodeDecodeError, a ValueError."""

_LARGEST_GRAPH = 2 << 30
"""Bytes of the graph's own file; protobuf itself ends there."""

_MOST_NODES = 1_000_000
_DEEPEST_SUBGRAPH = 16
_LARGEST_TENSOR = 1 << 40
"""Bytes; a tensor that claims more is an attack or damage."""


def read_onnx(path: Path) -> ir.Model:
    """Read an ONNX model; its external data stay memory-mapped.

    Raises:
        ModelError: The file is missing, truncated, not ONNX or not valid, is beyond the size
            limits, or refers to external data outside its folder.
    """
    if not path.is_file():
        raise ModelError(
            f"there is no model file {str(path)!r}.",
            hint="check the path; a .onnx file is expected.",
            code="model.missing",
        )
    size = path.stat().st_size
    if size > _LARGEST_GRAPH:
        raise ModelError(
            f"{path.name} has {size} bytes; an ONNX graph file has {_LARGEST_GRAPH} at most.",
            hint="save it with its weights as external data.",
            code="model.too-large",
        )
    try:
        model = _parse(path)
    except _DAMAGE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _not_onnx(path, reason.rstrip(".")) from error
    ir.external_data.set_base_dir(model.graph, path.parent)
    return model


def _parse(path: Path) -> ir.Model:
    """Parse the file without its external data, and check it before and with onnx's checker."""
    proto = onnx.load(path, format="protobuf", load_external_data=False)
    if not proto.graph.node or not proto.graph.output or not proto.opset_import:
        raise ValueError("it holds no graph with nodes and outputs")
    _check_sizes(proto.graph, path)
    tensors = list(onnx.external_data_helper._get_all_tensors(proto))
    for tensor in tensors:
        _check_contents(tensor)
    _check_external(tensors, path)
    onnx.checker.check_model(str(path), full_check=False)
    return ir.serde.deserialize_model(proto)


def _not_onnx(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path.name} is truncated or not an ONNX file: {reason}.",
        hint="copy or export the file again; onnx.checker.check_model(path) must pass.",
        code="model.not-onnx",
    )


def _check_sizes(graph: onnx.GraphProto, path: Path, depth: int = 0) -> None:
    """Refuse graphs and tensors beyond any real model's size, before anything is allocated."""
    claimed = max((_claimed_bytes(tensor) for tensor in graph.initializer), default=0)
    if len(graph.node) > _MOST_NODES or depth > _DEEPEST_SUBGRAPH or claimed > _LARGEST_TENSOR:
        raise ModelError(
            f"{path.name} is beyond the limits: {len(graph.node)} nodes (at most {_MOST_NODES}), "
            f"subgraphs {depth} deep (at most {_DEEPEST_SUBGRAPH}), a tensor of {claimed} bytes "
            f"(at most {_LARGEST_TENSOR}).",
            hint="check where the file comes from.",
            code="model.too-large",
        )
    for node in graph.node:
        for attribute in node.attribute:
            for subgraph in (
                *attribute.graphs,
                *([attribute.g] if attribute.HasField("g") else []),
            ):
                _check_sizes(subgraph, path, depth + 1)


def _claimed_bytes(tensor: onnx.TensorProto) -> int:
    """Return the bytes that a tensor's shape asks for; negative sizes count as too many."""
    if any(dim < 0 for dim in tensor.dims):
        return _LARGEST_TENSOR + 1
    return math.prod(tensor.dims)


def _check_contents(tensor: onnx.TensorProto) -> None:
    """Raise ValueError where a tensor stored in the graph has not the bytes its shape asks for."""
    if onnx.external_data_helper.uses_external_data(tensor):
        return
    if not tensor.HasField("raw_data"):
        onnx.numpy_helper.to_array(tensor)
        return
    bits = math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth
    if len(tensor.raw_data) != math.ceil(bits / 8):
        raise ValueError(
            f"tensor {tensor.name!r} of shape {list(tensor.dims)} has {len(tensor.raw_data)} bytes"
        )


def _check_external(tensors: Iterable[onnx.TensorProto], path: Path) -> None:
    """Refuse external data that lie outside the model's folder, or are links or missing."""
    for tensor in tensors:
        if not onnx.external_data_helper.uses_external_data(tensor):
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        file = path.parent / location
        if not _is_contained(location) or not _is_plain(path.parent, file):
            raise ModelError(
                f"{path.name}: the data of tensor {tensor.name!r} are said to lie in {location!r}, "
                "which is no plain file in the model's folder.",
                hint="put the model and its external data in one folder, without links.",
                code="model.external-data",
            )


def _is_contained(location: str) -> bool:
    """Tell whether a location is a relative path that stays inside its folder on any system."""
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    absolute = posix.is_absolute() or windows.is_absolute() or bool(windows.drive)
    return bool(location) and not absolute and "\0" not in location and ".." not in windows.parts


def _is_plain(folder: Path, file: Path) -> bool:
    """Tell whether a file is regular, has one hard link, and is reached through no symlink."""
    if not file.is_file() or file.stat().st_nlink != 1:
        return False
    return file.resolve() == folder.resolve() / file.relative_to(folder)

"""Reading a torch ExportedProgram (``.pt2``) without running what the file asks for.

``torch.export.load`` unpickles weights, constants and sample inputs where the archive says so,
evaluates the text of size expressions, and looks up operators by any dotted name under ``torch``.
So the archive is checked first, and what torch reads is a copy that holds only what was checked.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeexit.errors import ModelError

_ALLOWED = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|models/model\.json|archive_format|archive_version|byteorder|version|\.data/version"
)
"""Records of an archive, below its root folder, that are data and nothing else."""

_IGNORED = re.compile(r"data/sample_inputs/model\.pt|\.data/serialization_id|extra/.*")
"""Records that are not needed; the sample inputs are a pickle, so an empty record replaces them."""

_SAMPLE_INPUTS = "data/sample_inputs/model.pt"

_OPERATOR = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_\w+|torch\._check|_operator\.[a-z]+|math\.[a-z]+"
)
"""Operators that compute on tensors and sizes."""

_EXPRESSION_NAMES = re.compile(
    r"[suz]\d+|Symbol|Integer|Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|"
    r"ModularIndexing|ToFloat|positive|nonnegative|integer|int_oo|True|False|Eq|Ne|Lt|Le|Gt|Ge"
)
"""Names in a size expression; powers are left out, for a short one can fill the memory."""

_LARGEST_PROGRAM = 1 << 28
"""Bytes of the program's JSON."""


def read_pt2(path: Path, workdir: Path, exits: Sequence[str] | None = None) -> ir.Model:
    """Read an ExportedProgram and convert it to ONNX.

    Args:
        path: The ``.pt2`` file.
        workdir: A folder for the checked copy.
        exits: Names for its outputs, if they are as many and have none.

    Raises:
        ModelError: The file is missing or damaged, or asks for pickles or unknown operators.
    """
    from edgeexit.graph.export_torch import convert_program, import_torch

    if not path.is_file():
        raise ModelError(
            f"there is no model file {str(path)!r}.",
            hint="check the path; a .pt2 file is expected.",
            code="model.missing",
        )
    torch = import_torch()
    copy = workdir / "checked.pt2"
    _copy_checked(path, copy)
    try:
        program = torch.export.load(copy)
    except Exception as error:
        raise ModelError(
            f"torch {torch.__version__} cannot load {path.name}: {_first_line(error)}.",
            hint="save the program again with torch.export.save, with this version of torch.",
            code="model.not-pt2",
        ) from error
    finally:
        copy.unlink()
    return convert_program(program, exits)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _copy_checked(path: Path, copy: Path) -> None:
    """Copy the records that are plain data into an archive of our own; refuse all else."""
    try:
        with zipfile.ZipFile(path) as source:
            records = _records(source, path)
            documents = {
                name: _checked_json(name, _read_json(source, info, path), path)
                for name, info in records.items()
                if name.endswith(".json")
            }
            with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
                for name in records.keys() - documents.keys():
                    with (
                        source.open(records[name]) as record,
                        target.open(f"{copy.stem}/{name}", "w", force_zip64=True) as written,
                    ):
                        shutil.copyfileobj(record, written)
                for name, document in documents.items():
                    target.writestr(f"{copy.stem}/{name}", json.dumps(document))
                target.writestr(f"{copy.stem}/{_SAMPLE_INPUTS}", b"")
    except (zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, EOFError) as error:
        raise ModelError(
            f"{path.name} is truncated or not a .pt2 archive: {_first_line(error)}.",
            hint="copy or save the file again with torch.export.save.",
            code="model.not-pt2",
        ) from error


def _records(source: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the records to copy, by their name below the root folder."""
    records: dict[str, zipfile.ZipInfo] = {}
    for info in source.infolist():
        name = info.filename.partition("/")[2]
        if name in records or not (_ALLOWED.fullmatch(name) or _IGNORED.fullmatch(name)):
            raise _unsafe(path, f"the record {info.filename!r}")
        if _ALLOWED.fullmatch(name):
            records[name] = info
    return records


def _read_json(source: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Any:
    if info.file_size > _LARGEST_PROGRAM:
        raise _unsafe(path, f"the record {info.filename!r} of {info.file_size} bytes")
    return json.loads(source.read(info))


def _checked_json(name: str, document: Any, path: Path) -> Any:
    """Refuse pickled payloads, foreign operators and size expressions that are more than that.

    Guards are Python source, and only checks: they are dropped.
    """
    if isinstance(document, dict) and "guards_code" in document:
        document["guards_code"] = []
    for key, value in _pairs(document):
        if key == "use_pickle" and value is not False:
            raise _unsafe(path, f"pickled tensors in {name}")
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(value)):
            raise _unsafe(path, f"the payload {value!r} in {name}")
        if key == "target" and isinstance(value, str) and not _is_target(value):
            raise _unsafe(path, f"the operator {value!r}")
        if key == "expr_str" and not _is_expression(str(value)):
            raise _unsafe(path, f"the size expression {value!r}")
    return document


def _is_target(target: str) -> bool:
    """Tell whether an operator is one that computes, or a name that is looked up nowhere."""
    dotted = target.startswith(("torch", "_operator", "math", "#"))
    return not dotted or _OPERATOR.fullmatch(target) is not None


def _is_expression(text: str) -> bool:
    """Tell whether a size expression is arithmetic on symbols, so evaluating it is harmless."""
    bare = re.sub(r"'([suz]\d+)'", r"\1", text)
    names = re.findall(r"[A-Za-z_]\w*", bare)
    plain = re.fullmatch(r"[\w\s+\-*/(),<>=!&|~]*", bare, flags=re.ASCII) is not None
    return plain and "**" not in bare and all(_EXPRESSION_NAMES.fullmatch(name) for name in names)


def _pairs(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of nested JSON objects."""
    pending = [document]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item.items()
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _unsafe(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path.name} holds {what}, which edgeexit does not load: it could run code.",
        hint="save the program with torch.export.save from plain tensors and aten operators, "
        "or export it to ONNX where it was made.",
        code="model.unsafe-pt2",
    )

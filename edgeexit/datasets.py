"""Calibration and test data: an ``.npz`` file, a folder of images, or a function.

Nothing is cast, resized or normalised here: what the model does to an image is baked into it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.npz import NpzError, read_npz
from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import InputError
from edgeexit.image_folder import read_image_folder

Array = npt.NDArray[Any]

LABELS, GROUP, CLASSES, SINGLE = "y", "group", "classes", "x"
"""Names with a meaning in a data set; ``x`` is the input of a model with a single input."""

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""A source that is called: ``package.module:function``."""

_ROWS_A_CHECK = 4096
_MAX_CLASSES = 1 << 31


@dataclass(frozen=True)
class Dataset:
    """Samples for calibration or measurement.

    Attributes:
        inputs: One array a model input by name; samples along the first axis.
        labels: ``(n,) int64`` class numbers, or None.
        group: ``(n,)`` what each sample came from (a clip, a patient), or None.
        classes: Class names that ``labels`` index, or None.
        sha256: Digest of all arrays: names, types, shapes and contents.
    """

    inputs: Mapping[str, Array]
    labels: npt.NDArray[np.int64] | None
    group: Array | None
    classes: tuple[str, ...] | None
    sha256: str

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def load_dataset(
    source: str | Path | Mapping[str, Any],
    *,
    inputs: Sequence[TensorSpec] | None = None,
    need_labels: bool = False,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    class_count: int | None = None,
) -> Dataset:
    """Return a data set after checking it against the model's inputs.

    Args:
        source: An ``.npz`` file or a mapping (inputs by name, labels as ``y``, optionally
            ``group`` and ``classes``), a folder of class folders of images, or
            ``package.module:function``, which returns such a mapping.
        inputs: The model's inputs, or None to take every array but the labels as one.
        need_labels: Whether data without labels is refused.
        limit: Most samples wanted; that many are taken evenly spaced, so that sorted data keeps
            all its classes.
        classes: The model's class names; folders and ``classes`` of the data map to them by name.
        class_count: Number of classes, where the model has no names; labels must be below it.

    Raises:
        InputError: The source is missing or unreadable, arrays are missing, of another type or
            length, empty, or hold NaN or infinity; labels are no class numbers.
    """
    found = dict(_read(source, inputs))
    name = "the data" if isinstance(source, Mapping) else str(source)
    names = _take_classes(found)
    group, given = found.pop(GROUP, None), found.pop(LABELS, None)
    if group is not None:
        _check_group(group)
    arrays = _match_inputs(found, inputs, name)
    _check_lengths({**arrays, LABELS: given, GROUP: group}, name)
    for key, array in arrays.items():
        _check_array(key, array, None if inputs is None else _spec(inputs, key))
    if need_labels and given is None:
        raise _error(f"{name} has no labels; an array {LABELS!r} was expected.", "labels-missing")
    labels = None if given is None else _class_numbers(given, names, classes, class_count)
    data = Dataset(arrays, labels, group, names if classes is None else tuple(classes), "")
    data = data if limit is None else _limited(data, limit)
    return dataclasses.replace(data, sha256=_digest(data))


def _limited(data: Dataset, limit: int) -> Dataset:
    if limit < 1:
        raise _error(f"limit is {limit}; it must be at least 1.", "limit")
    if limit >= len(data):
        return data
    rows = np.arange(limit) * len(data) // limit
    return dataclasses.replace(
        data,
        inputs={key: array[rows] for key, array in data.inputs.items()},
        labels=None if data.labels is None else data.labels[rows],
        group=None if data.group is None else data.group[rows],
    )


def _error(message: str, code: str, hint: str | None = None) -> InputError:
    return InputError(
        message,
        hint=hint or "see the data formats under --data in the README.",
        code=f"input.{code}",
    )


def _read(
    source: str | Path | Mapping[str, Any], inputs: Sequence[TensorSpec] | None
) -> Mapping[str, Array]:
    if isinstance(source, Mapping):
        return _as_arrays(source, "the data")
    if not isinstance(source, str | Path):
        raise _error(
            f"the data is of type {type(source).__name__}; a path or arrays by name are right.",
            "data-type",
            "name the arrays: {'image': images, 'y': labels}.",
        )
    path = Path(source)
    if path.is_dir():
        name, images, labels, names = read_image_folder(path, inputs)
        return {name: images, LABELS: labels, CLASSES: np.asarray(names)}
    if path.is_file():
        return _read_file(path)
    if FUNCTION.fullmatch(str(source)):
        return _as_arrays(call_function(str(source)), str(source))
    raise _error(
        f"{source} does not exist.",
        "data-missing",
        "name an .npz file, a folder of class folders of images, or package.module:function.",
    )


def _as_arrays(values: Mapping[Any, Any], where: str) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for key, value in values.items():
        try:
            arrays[str(key)] = np.asarray(value)
        except ValueError as error:
            raise _error(f"{key!r} of {where} is no array: {error}.", "data-ragged") from error
    return arrays


def _read_file(path: Path) -> dict[str, Array]:
    try:
        return read_npz(path)
    except NpzError as error:
        raise _error(
            f"{path} cannot be read: {error}.",
            "data-unreadable",
            "write it with numpy.savez(path, x=..., y=...).",
        ) from None


def call_function(source: str) -> Mapping[Any, Any]:
    """Return what the function of ``package.module:function`` returns, a mapping.

    Raises:
        InputError: It cannot be imported, fails, or returns no mapping.
    """
    module_name, _, name = source.partition(":")
    # As `python -m` does: a module in the working folder is found from an installed command too.
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), name)
        result = function()
    except Exception as error:  # a user's code may raise anything
        reason = f"{type(error).__name__}: {error}"
        hint = "the function takes no arguments and returns a mapping of arrays."
        raise _error(f"{source} failed with {reason}.", "data-function", hint) from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if not isinstance(result, Mapping):
        fault = f"{source} returned {type(result).__name__}; a mapping of arrays was expected."
        raise _error(fault, "data-function")
    return result


def _take_classes(found: dict[str, Array]) -> tuple[str, ...] | None:
    names = found.pop(CLASSES, None)
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
        raise _error(f"{CLASSES!r} must be a list of distinct names.", "classes")
    return tuple(names.tolist())


def _match_inputs(
    found: dict[str, Array], inputs: Sequence[TensorSpec] | None, name: str
) -> dict[str, Array]:
    wanted = list(found) if inputs is None else [spec.name for spec in inputs]
    if len(wanted) == 1 and list(found) == [SINGLE]:
        found = {wanted[0]: found[SINGLE]}
    if not wanted or set(found) != set(wanted):
        also = f" (or {SINGLE!r})" if len(wanted) == 1 else ""
        raise _error(
            f"{name} holds the inputs {sorted(found)}; the model takes {sorted(wanted)}{also}.",
            "data-keys",
            f"name each array after a model input; labels are {LABELS!r}, groups {GROUP!r}.",
        )
    return {key: found[key] for key in wanted}


def _check_lengths(arrays: Mapping[str, Array | None], name: str) -> None:
    lengths = {}
    for key, array in arrays.items():
        if array is None:
            continue
        if array.ndim == 0:
            raise _error(f"{key!r} is a single number; an array of samples is needed.", "shape")
        lengths[key] = len(array)
    if len(set(lengths.values())) > 1:
        raise _error(f"{name} has arrays of differing lengths: {lengths}.", "data-lengths")
    if 0 in lengths.values():
        raise _error(f"{name} is empty; at least one sample was expected.", "data-empty")


def _check_group(group: Array) -> None:
    """Refuse groups that cannot be told apart: NaN differs from itself, objects from anything."""
    plain = group.dtype.kind in "iufUSb" and group.ndim == 1
    if not plain or (group.dtype.kind == "f" and not np.isfinite(group).all()):
        spoilt = " with NaN or infinity" if plain else ""
        raise _error(
            f"groups {GROUP!r} are {group.dtype} of shape {group.shape}{spoilt}; one number or "
            "name a sample was expected.",
            "group",
            "number or name the clips, patients or sites that samples come from.",
        )


def _spec(inputs: Sequence[TensorSpec], name: str) -> TensorSpec:
    return next(spec for spec in inputs if spec.name == name)


def _check_array(name: str, array: Array, spec: TensorSpec | None) -> None:
    if array.dtype.kind not in "biuf":
        raise _error(f"input {name!r} holds {array.dtype}; numbers were expected.", "dtype")
    if spec is not None:
        _check_spec(name, array, spec)
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), _ROWS_A_CHECK):
        bad = ~np.isfinite(array[start : start + _ROWS_A_CHECK])
        if bad.any():
            first = np.argwhere(bad)[0]
            index = (start + int(first[0]), *(int(axis) for axis in first[1:]))
            raise _error(
                f"input {name!r} holds {array[index]} at index {index}; finite values were "
                "expected.",
                "not-finite",
                "remove or repair these samples.",
            )


def _check_spec(name: str, array: Array, spec: TensorSpec) -> None:
    if array.dtype.name != spec.dtype or not array.dtype.isnative:
        raise _error(
            f"input {name!r} is {array.dtype}; the model takes {spec.dtype}.",
            "dtype",
            f"convert it yourself, for example with array.astype('{spec.dtype}').",
        )
    if array.ndim != len(spec.shape) or any(
        isinstance(dim, int) and size != dim
        for axis, (size, dim) in enumerate(zip(array.shape, spec.shape, strict=True))
        if axis != spec.batch_axis and axis > 0
    ):
        shape = tuple(spec.shape)
        raise _error(f"input {name!r} has shape {array.shape}; the model takes {shape}.", "shape")


def _class_numbers(
    given: Array,
    names: tuple[str, ...] | None,
    classes: Sequence[str] | None,
    class_count: int | None,
) -> npt.NDArray[np.int64]:
    """Return labels as class numbers of the model."""
    if given.ndim != 1 or given.dtype.kind not in "iu":
        fault = f"labels {LABELS!r} are {given.dtype} of shape {given.shape}"
        raise _error(f"{fault}; one integer a sample was expected.", "labels")
    count = len(classes) if classes is not None else class_count
    _check_range(given, len(names) if names is not None else count)
    labels = given.astype(np.int64)
    if names is not None and classes is not None and names != tuple(classes):
        places = {name: number for number, name in enumerate(classes)}
        unknown = [name for name in names if name not in places]
        if unknown:
            fault = f"the data has classes {unknown[:5]}, the model has {list(classes)[:20]}."
            raise _error(fault, "classes", "name the class folders as the model's classes.")
        labels = np.asarray([places[name] for name in names], dtype=np.int64)[labels]
    _check_range(labels, count)
    return labels


def _check_range(labels: Array, count: int | None) -> None:
    outside = (labels < 0) | (labels >= (_MAX_CLASSES if count is None else count))
    if outside.any():
        first = int(np.argmax(outside))
        allowed = f"0 to {(_MAX_CLASSES if count is None else count) - 1}"
        fault = f"label {labels[first]} of sample {first} is no class; labels are {allowed}."
        raise _error(fault, "label-range")


def _digest(data: Dataset) -> str:
    digest = hashlib.sha256()
    for name, array in (*sorted(data.inputs.items()), (LABELS, data.labels), (GROUP, data.group)):
        if array is None:
            continue
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

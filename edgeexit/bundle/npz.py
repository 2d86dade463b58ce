"""Arrays from an ``.npz`` file that may be hostile: no pickle, no allocation before a check."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_MAX_MEMBERS = 4096
_KINDS = "biufUS"


class NpzError(ValueError):
    """An ``.npz`` file cannot be read; callers turn it into an error of their own family."""


def read_npz(file: Path | BinaryIO, *, limit: int | None = None) -> dict[str, Array]:
    """Return the arrays of an ``.npz`` file by name, each C-contiguous.

    Args:
        file: Path of the file, or the file opened for reading.
        limit: Most bytes that all arrays may take, or None for no cap.

    Raises:
        NpzError: It is no ``.npz``, damaged, too large, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if len(members) > _MAX_MEMBERS or (limit is not None and total > limit):
                raise NpzError(
                    f"it unpacks to {len(members)} arrays of {total} bytes; at most {_MAX_MEMBERS}"
                    + (f" of {limit} bytes are read" if limit is not None else " are read")
                )
            return {
                member.filename.removesuffix(".npy"): _read_member(archive, member)
                for member in members
            }
    except NpzError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on hostile bytes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NpzError(f"it is no readable .npz file ({reason[:200]})") from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as file:
        stream = cast(BinaryIO, file)
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            header = np.lib.format.read_array_header_2_0(stream)
        else:
            raise NpzError(f"array {member.filename!r} has the unknown npy version {version}")
        shape, fortran, dtype = header
        if dtype.kind not in _KINDS or dtype.itemsize == 0:
            raise NpzError(
                f"array {member.filename!r} holds {dtype}; plain numbers and text are read"
            )
        data = file.read()
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise NpzError(f"array {member.filename!r} has {len(data)} bytes, not those of {shape}")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    native = array.astype(dtype.newbyteorder("="), order="C", copy=False)
    return np.ascontiguousarray(native).reshape(shape)

"""DLPack's structures and capsules, through ctypes.

From the DLPack specification (dlpack.h, versions 0.8 and 1) and Python's array API standard.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import (
    POINTER,
    c_char_p,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
)
from typing import Any

NAME = b"dltensor"
VERSIONED = b"dltensor_versioned"
USED = {NAME: b"used_dltensor", VERSIONED: b"used_dltensor_versioned"}
"""What a consumer renames a capsule to, so that its destructor leaves the tensor alone."""

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
"""``DLDeviceType``."""

TYPES = {
    "float16": (2, 16), "float32": (2, 32), "float64": (2, 64), "bfloat16": (4, 16),
    "int8": (0, 8), "int16": (0, 16), "int32": (0, 32), "int64": (0, 64),
    "uint8": (1, 8), "uint16": (1, 16), "uint32": (1, 32), "uint64": (1, 64),
    "bool": (6, 8),
}  # fmt: skip
"""``DLDataTypeCode`` and bits of each element type."""


class _Device(ctypes.Structure):
    _fields_ = (("type", c_int32), ("id", c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16))


class Tensor(ctypes.Structure):
    """``DLTensor``."""

    _fields_ = (
        ("data", c_void_p),
        ("device", _Device),
        ("ndim", c_int32),
        ("dtype", _Type),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", Tensor), ("context", c_void_p), ("deleter", _Deleter))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", c_void_p),
        ("deleter", _Deleter),
        ("flags", c_uint64),
        ("tensor", Tensor),
    )


def _python(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    # A function object of our own: the types set on ctypes.pythonapi's are everyone's.
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_Destructor = ctypes.CFUNCTYPE(None, c_void_p)
_new = _python("PyCapsule_New", py_object, c_void_p, c_char_p, _Destructor)
_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, py_object, c_char_p)
_pointer = _python("PyCapsule_GetPointer", c_void_p, py_object, c_char_p)
_rename = _python("PyCapsule_SetName", ctypes.c_int, py_object, c_char_p)
# While a capsule is destroyed it must not be referred to: hence its address in place of it.
_dying_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, c_void_p, c_char_p)
_dying_pointer = _python("PyCapsule_GetPointer", c_void_p, c_void_p, c_char_p)
_keep = _python("Py_IncRef", None, py_object)
_drop = _python("Py_DecRef", None, c_void_p)


class _Held:
    """All that must live as long as an exported tensor; the deleter drops the one reference."""

    __slots__ = ("managed", "owner", "shape", "strides")

    def __init__(self, owner: object, shape: tuple[int, ...]) -> None:
        self.owner = owner
        self.shape = (c_int64 * len(shape))(*shape)
        steps = [1] * len(shape)
        for axis in range(len(shape) - 2, -1, -1):
            steps[axis] = steps[axis + 1] * shape[axis + 1]
        # NULL strides mean the same, but version 1.2 asks for them to be written out.
        self.strides = (c_int64 * len(shape))(*steps)
        self.managed = _Managed()


def _delete(managed: int) -> None:
    _drop(_Managed.from_address(managed).context)


def _destroy(capsule: int) -> None:
    if _dying_is_valid(capsule, NAME):
        _delete(_dying_pointer(capsule, NAME))


_DELETE = _Deleter(_delete)
_DESTROY = _Destructor(_destroy)


def export(
    owner: object, address: int, dtype: str, shape: tuple[int, ...], device: tuple[int, int]
) -> object:
    """Return a capsule over memory that ``owner`` keeps; it keeps ``owner``.

    Args:
        owner: Kept until the consumer's deleter call, or the capsule's end if nobody took it.
        address: Where the tensor lies.
        dtype: Name of its element type, one of :data:`TYPES`.
        shape: Its shape; its rows follow each other.
        device: DLPack's device type and number.
    """
    held = _Held(owner, shape)
    managed = held.managed
    tensor = managed.tensor
    tensor.data, tensor.device = address, _Device(*device)
    tensor.ndim, tensor.dtype = len(shape), _Type(*TYPES[dtype], 1)
    tensor.shape = ctypes.cast(held.shape, POINTER(c_int64))
    tensor.strides = ctypes.cast(held.strides, POINTER(c_int64))
    managed.context, managed.deleter = id(held), _DELETE
    capsule: object = _new(ctypes.addressof(managed), NAME, _DESTROY)
    _keep(held)
    return capsule


class Taken:
    """What a capsule holds, before and after it is taken.

    Args:
        capsule: A DLPack capsule.

    Attributes:
        tensor: The tensor described in it.

    Raises:
        ValueError: It is none, or was taken before.
    """

    def __init__(self, capsule: object) -> None:
        self._capsule = capsule
        for name, kind in ((VERSIONED, _Versioned), (NAME, _Managed)):
            if _is_valid(capsule, name):
                self._name = name
                self._managed: Any = kind.from_address(_pointer(capsule, name))
                break
        else:
            raise ValueError("it offers no unused DLPack capsule")
        if self._name == VERSIONED and self._managed.major != 1:
            raise ValueError(f"its DLPack version is {self._managed.major}, not 1")
        self.tensor: Tensor = self._managed.tensor

    def shape(self) -> tuple[int, ...]:
        """Return the tensor's shape."""
        return tuple(self.tensor.shape[axis] for axis in range(self.tensor.ndim))

    def strides(self) -> tuple[int, ...] | None:
        """Return the steps of the axes in elements; None where rows follow each other."""
        if not self.tensor.strides:
            return None
        return tuple(self.tensor.strides[axis] for axis in range(self.tensor.ndim))

    def address(self) -> int:
        """Return where the first element lies."""
        return (self.tensor.data or 0) + int(self.tensor.byte_offset)

    def dtype(self) -> str:
        """Return the name of the element type."""
        kind = self.tensor.dtype
        found = (kind.code, kind.bits)
        names = [name for name, words in TYPES.items() if words == found and kind.lanes == 1]
        return names[0] if names else f"DLPack type {found} of {kind.lanes} lanes"

    def release(self) -> None:
        """Take the tensor and give it back: its owner may free it. Call it once."""
        _rename(self._capsule, USED[self._name])
        if self._managed.deleter:
            self._managed.deleter(ctypes.addressof(self._managed))

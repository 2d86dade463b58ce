"""The signal stack of a thread, kept as it was.

OpenVINO 2026.4.1 gives the thread that compiles a model an alternate signal stack, and puts the one
before back when the model goes. Models that go in another order than last in, first out, leave a
stack that is freed, and the next signal that Python handles there ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux's ``signal.h``."""

    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def signal_stack() -> tuple[int | None, int, int]:
    """Return address, flags and size of this thread's alternate signal stack, on Linux."""
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.pointer, stack.flags, stack.size


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Put this thread's alternate signal stack back after the block; only Linux has one here."""
    if sys.platform != "linux":
        yield
        return
    before = _Stack(*signal_stack())
    try:
        yield
    finally:
        ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)

"""NNCF without its usage statistics."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from edgeexit.errors import ModelError

_SENDER = "openvino_telemetry"
"""NNCF imports it once, at import, creates a client id in the home folder and sends with it."""


class NoTelemetry:
    """Takes the events that NNCF would send, and drops them."""

    def start_session(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def send_event(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def end_session(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


@contextmanager
def silent_nncf() -> Iterator[Any]:
    """Yield the nncf module with its telemetry off.

    1. Not imported yet: it is imported as if its sender were not installed, which is the one
       case in which it sets up nothing. It stays silent for the life of the process.
    2. Imported by someone else: its sender is taken away for as long as the context lasts.

    Raises:
        ModelError: nncf is not installed.
    """
    nncf = _import_without_sender() if "nncf" not in sys.modules else sys.modules["nncf"]
    decorator: Any = importlib.import_module("nncf.telemetry.decorator")
    sender, decorator.telemetry = decorator.telemetry, NoTelemetry()
    try:
        yield nncf
    finally:
        decorator.telemetry = sender


def _import_without_sender() -> ModuleType:
    absent = object()
    sender: Any = sys.modules.get(_SENDER, absent)
    sys.modules[_SENDER] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("nncf")
    except ImportError as error:
        raise ModelError(
            f"int8 needs NNCF with its ONNX backend, and {error.name} is not installed.",
            hint="pip install 'edgeexit[compile]'.",
            code="model.nncf-missing",
        ) from error
    finally:
        if sender is absent:
            del sys.modules[_SENDER]
        else:
            sys.modules[_SENDER] = sender

"""edgeexit: run a multi-exit model on a device at a chosen average cost.

The public names are loaded when first used, so that importing the package costs no more than
numpy: an app that only runs a bundle never loads the compiler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgeexit.budget import Budget
from edgeexit.errors import (
    BudgetError,
    BundleError,
    EdgeExitError,
    InputError,
    ModelError,
    ResourceError,
    TargetError,
)
from edgeexit.version import __version__

if TYPE_CHECKING:
    from edgeexit.bundle.bundle import Bundle
    from edgeexit.calibrate.calibrate import calibrate_exits
    from edgeexit.compiler import compile_model
    from edgeexit.dmpo.tuning import tune
    from edgeexit.runtime.governor import Governor
    from edgeexit.runtime.runtime import Runtime

__all__ = [
    "Budget",
    "BudgetError",
    "Bundle",
    "BundleError",
    "EdgeExitError",
    "Governor",
    "InputError",
    "ModelError",
    "ResourceError",
    "Runtime",
    "TargetError",
    "__version__",
    "calibrate_exits",
    "compile_model",
    "tune",
]

_LAZY = {
    "Bundle": "edgeexit.bundle.bundle",
    "Governor": "edgeexit.runtime.governor",
    "Runtime": "edgeexit.runtime.runtime",
    "calibrate_exits": "edgeexit.calibrate.calibrate",
    "compile_model": "edgeexit.compiler",
    "tune": "edgeexit.dmpo.tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'edgeexit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})

"""Tuning: a backbone and labelled data in, a multi-exit model that edgeexit compiles out.

The only room that imports torch for its own work. Its names are loaded when first used, so that a
config can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeexit.dmpo.build import build_model
    from edgeexit.dmpo.config import TuneConfig
    from edgeexit.dmpo.config_file import read_config
    from edgeexit.dmpo.model import MultiExitModel
    from edgeexit.dmpo.tuning import Tuned, tune

__all__ = ["MultiExitModel", "TuneConfig", "Tuned", "build_model", "read_config", "tune"]

_LAZY = {
    "MultiExitModel": "edgeexit.dmpo.model",
    "TuneConfig": "edgeexit.dmpo.config",
    "Tuned": "edgeexit.dmpo.tuning",
    "build_model": "edgeexit.dmpo.build",
    "read_config": "edgeexit.dmpo.config_file",
    "tune": "edgeexit.dmpo.tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'edgeexit.dmpo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})

"""Which TensorRT is here, found without a crash: nothing is called before its version is known."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgeexit.targets.faults import summary
from edgeexit.targets.info import Unavailable

if TYPE_CHECKING:
    from edgeexit.targets.tensorrt.api import Api
    from edgeexit.targets.tensorrt.log import Log

MODULES: Mapping[str, str] = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
"""The Python module of each target."""

OLDEST = (10, 3)
"""JetPack 6.1 brings 10.3; the calls we make came with 10.1."""

NEWEST = 11
"""The newest major version whose calls were checked."""

_TEGRA = Path("/etc/nv_tegra_release")
_SYSTEM_PACKAGES = Path("/usr/lib")
_RTX_HINT = "pip install 'edgeexit[rtx]'."
_PC_HINT = "pip install tensorrt (10.3 or newer), with an NVIDIA driver for its CUDA version."
_JETSON_HINT = (
    "on a Jetson it comes with JetPack: sudo apt install python3-libnvinfer, and make the virtual "
    "environment with python3 -m venv --system-site-packages; pip cannot install it there."
)


def load_module(name: str) -> ModuleType | Unavailable:
    """Import ``tensorrt`` or ``tensorrt_rtx``, or say why it cannot be used and what to do."""
    hint = _RTX_HINT if name == "tensorrt_rtx" else _JETSON_HINT if _on_jetson() else _PC_HINT
    try:
        found = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        return _not_installed(name, hint)
    try:
        module = importlib.import_module(name)
    # A module that cannot find its libraries raises ImportError, OSError or RuntimeError.
    except Exception as error:
        return Unavailable(f"the module {name} cannot be loaded: {summary(error)}", hint)
    return _check_version(module, name, hint)


def load_api(name: str, log: Log | None = None) -> Api | Unavailable:
    """Return the adapter for ``tensorrt`` or ``tensorrt_rtx``, or why there is none.

    A major version newer than :data:`NEWEST` gets the newest adapter where the module has all
    names that it needs: the calls have been the same since 8.5, a build runs in a child process,
    and its numbers are checked against golden outputs before they are used. Refusing it would
    turn every update of JetPack into a failure.

    Args:
        name: The Python module's name.
        log: Where its messages go.
    """
    from edgeexit.targets.tensorrt.api import TensorRt10, TensorRt11, TensorRtRtx

    module = load_module(name)
    if isinstance(module, Unavailable):
        return module
    if name == "tensorrt_rtx":
        return TensorRtRtx(module, log)
    return (TensorRt10 if _version(module)[0] == OLDEST[0] else TensorRt11)(module, log)


def missing_names(
    module: object, required: Sequence[Mapping[str, tuple[str, ...]]]
) -> tuple[str, ...]:
    """Return the names of ``required``, tables of class to members, that a module lacks."""
    return tuple(
        f"{group}.{name}"
        for table in required
        for group, names in table.items()
        for name in names
        if not hasattr(getattr(module, group, None), name)
    )


def _check_version(module: ModuleType, name: str, hint: str) -> ModuleType | Unavailable:
    from edgeexit.targets.tensorrt.surface import COMMON, RTX

    version = _version(module)
    said = getattr(module, "__version__", "of no version")
    if not version:
        return Unavailable(f"the module {name} in {_place(module)} is not NVIDIA's.", hint)
    if name == "tensorrt" and version[0] < OLDEST[0]:
        return Unavailable(
            f"TensorRT {said} is too old: edgeexit needs 10.3 or newer. TensorRT 8 is that of "
            "JetPack 5 (Python 3.8), whose networks cannot be strongly typed.",
            "update the device to JetPack 6.1 or newer; on a PC: pip install --upgrade tensorrt.",
        )
    if name == "tensorrt" and version < OLDEST:
        return Unavailable(
            f"TensorRT {said} is too old: edgeexit needs 10.3 or newer.",
            "update the device to JetPack 6.1 or newer; on a PC: pip install --upgrade tensorrt.",
        )
    missing = missing_names(module, (COMMON, RTX) if name == "tensorrt_rtx" else (COMMON,))
    if missing:
        newer = f", which is newer than {NEWEST}," if _is_newer(name, version) else ""
        return Unavailable(
            f"{name} {said}{newer} lacks {', '.join(missing[:3])}.",
            f"update edgeexit, or install a version that it knows: 10.3 to {NEWEST}."
            if name == "tensorrt"
            else "update edgeexit, or pip install 'edgeexit[rtx]' for the version that it knows.",
        )
    return module


def _is_newer(name: str, version: tuple[int, ...]) -> bool:
    return name == "tensorrt" and version[0] > NEWEST


def _not_installed(name: str, hint: str) -> Unavailable:
    hidden = _hidden_copy(name)
    if hidden is not None:
        return Unavailable(
            f"the module {name} is installed in {hidden}, which this virtual environment "
            f"({sys.prefix}) does not see.",
            "make it anew with python3 -m venv --system-site-packages, or set "
            "include-system-site-packages = true in its pyvenv.cfg.",
        )
    return Unavailable(f"the module {name} is not installed.", hint)


def _hidden_copy(name: str) -> Path | None:
    """Return the system's folder that holds a module which a virtual environment hides."""
    if sys.prefix == sys.base_prefix:
        return None
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for folder in (version, "python3"):
        packages = _SYSTEM_PACKAGES / folder / "dist-packages"
        if (packages / name).is_dir():
            return packages
    return None


def _version(module: ModuleType) -> tuple[int, ...]:
    parts = str(getattr(module, "__version__", "")).split(".")[:2]
    return tuple(int(part) for part in parts) if all(p.isdigit() for p in parts) else ()


def _place(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or "a folder without an __init__.py")


def _on_jetson() -> bool:
    return _TEGRA.exists()

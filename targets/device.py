"""Device files: which engine a kind of device uses, and how. Nothing in them is measured.

The built-in ones lie in ``devices/``; a user's own is a TOML file with the same keys.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from edgeexit.errors import TargetError
from edgeexit.targets.info import Dims, EngineOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRECISIONS = ("f32", "bf16", "fp16", "int8")
"""The precisions that a device file may name."""

INT8_COMPUTE = ("auto", "f32", "bf16", "fp16")
"""The types in which what stays float at precision ``int8`` may compute."""


@dataclass(frozen=True)
class Device:
    """A kind of device, as its file describes it.

    Attributes:
        name: Its name, e.g. ``x86``.
        description: One line for people.
        engine: Name of the target that runs the stages.
        precisions: Precisions that make sense on it.
        default_precision: The one that is used unless told otherwise.
        threads: Threads an inference; 0 leaves the choice to the engine.
        batch_buckets: Batch sizes that the runtime prepares, ascending, from 1.
        int8_compute: Type of what stays float at precision ``int8``: ``auto``, ``f32``, ``bf16``,
            or ``fp16``, which the compiler writes into the graph.
        static_batches: Precisions at which every batch bucket gets engines of its own, compiled
            for its size: faster where the engine is slow at dynamic sizes, for more memory.
        settings: Engine-specific settings.
        power: ``idle_watts`` and ``watts_per_core`` of the CPU-time model, for a device without
            power sensors; empty for its defaults.
    """

    name: str
    description: str
    engine: str
    precisions: tuple[str, ...]
    default_precision: str
    threads: int
    batch_buckets: tuple[int, ...]
    int8_compute: str = "auto"
    static_batches: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    power: Mapping[str, float] = field(default_factory=dict)

    def computes_half(self, precision: str) -> bool:
        """Tell whether what is not int8 computes in float16 at a precision, by the graph itself."""
        return precision == "fp16" or (precision == "int8" and self.int8_compute == "fp16")

    def options(
        self,
        precision: str | None = None,
        dims: Dims | None = None,
        native: Collection[str] = (),
    ) -> EngineOptions:
        """Return how to compile a stage for this device.

        Args:
            precision: One of ``precisions``; the default one if None.
            dims: Symbols to fix at compile time.
            native: Boundary tensors that may stay in the engine's compute type.

        Raises:
            TargetError: The device has no such precision.
        """
        chosen = self.default_precision if precision is None else precision
        if chosen not in self.precisions:
            raise TargetError(
                f"device {self.name!r} has no precision {chosen!r}: it has "
                f"{', '.join(self.precisions)}.",
                hint="choose one of them, or another device.",
                code="target.precision",
            )
        return EngineOptions(
            precision=chosen,
            threads=self.threads,
            dims=dict(dims or {}),
            settings=self.settings,
            native=frozenset(native),
            int8_compute=self.int8_compute,
        )


def device_names() -> tuple[str, ...]:
    """Return the names of the built-in devices, sorted."""
    files = resources.files("edgeexit.targets").joinpath("devices").iterdir()
    return tuple(sorted(f.name[: -len(".toml")] for f in files if f.name.endswith(".toml")))


def load_device(name: str | Path) -> Device:
    """Return a built-in device by name, or the one that a TOML file describes.

    Args:
        name: A built-in name such as ``x86``, or the path of a file (ending in ``.toml``).

    Raises:
        TargetError: There is no such device or file, or the file is not a device file.
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        return _parse(_read(Path(name)), str(name))
    if name not in device_names():
        raise TargetError(
            f"there is no device {name!r}: the devices are {', '.join(device_names())}.",
            hint="choose one of them, or give the path of a device file ending in .toml.",
            code="target.device",
        )
    file = resources.files("edgeexit.targets").joinpath("devices", f"{name}.toml")
    return _parse(file.read_text(encoding="utf-8"), f"{name}.toml")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(str(path), f"it cannot be read ({error})") from error


def _parse(text: str, source: str) -> Device:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(source, f"it is no TOML ({error})") from error
    unknown = sorted(table.keys() - _CHECKS.keys())
    missing = sorted(_CHECKS.keys() - table.keys() - _OPTIONAL)
    if unknown:
        raise _bad(source, f"unknown key {unknown[0]!r}; the keys are {', '.join(_CHECKS)}")
    if missing:
        raise _bad(source, f"key {missing[0]!r} is missing")
    for key, value in table.items():
        fits, right = _CHECKS[key]
        if not fits(value):
            raise _bad(source, f"{key} = {value!r} is not {right}")
    if table["default_precision"] not in table["precisions"]:
        raise _bad(source, "default_precision is not among precisions")
    for key in ("precisions", "batch_buckets", "static_batches"):
        table[key] = tuple(table.get(key, ()))
    return Device(**table)


def _bad(source: str, what: str) -> TargetError:
    return TargetError(
        f"device file {source}: {what}.",
        hint="start from a built-in file: edgeexit/targets/devices/x86.toml.",
        code="target.device-file",
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _are_precisions(value: object) -> bool:
    words = isinstance(value, list) and all(word in PRECISIONS for word in value)
    return words and isinstance(value, list) and 0 < len(value) == len(set(value))


def _are_buckets(value: object) -> bool:
    if not isinstance(value, list) or not all(type(size) is int for size in value):
        return False
    return value[:1] == [1] and value == sorted(set(value))


def _are_watts(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"idle_watts", "watts_per_core"}:
        return False
    return all(type(watts) in (int, float) and 0 <= watts <= 10_000 for watts in value.values())


_CHECKS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "name": (_is_text, "a text"),
    "description": (_is_text, "a text"),
    "engine": (_is_text, "the name of a target"),
    "precisions": (_are_precisions, f"a list of some of {', '.join(PRECISIONS)}, each once"),
    "default_precision": (lambda value: value in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "threads": (_is_count, "a whole number from 0 (0: the engine's choice)"),
    "batch_buckets": (_are_buckets, "an ascending list of whole numbers from 1"),
    "int8_compute": (lambda value: value in INT8_COMPUTE, f"one of {', '.join(INT8_COMPUTE)}"),
    "static_batches": (
        lambda value: value == [] or _are_precisions(value),
        f"a list of some of {', '.join(PRECISIONS)}, each once",
    ),
    "settings": (lambda value: isinstance(value, dict), "a table"),
    "power": (_are_watts, "a table of idle_watts and watts_per_core, both from 0 to 10,000"),
}

_OPTIONAL = frozenset({"int8_compute", "static_batches", "settings", "power"})

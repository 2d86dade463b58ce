"""The targets that exist here, by name: the built-in ones and those of installed packages.

A package adds a target through the entry-point group ``edgeexit.targets``; the entry's name is
the target's name, its value a subclass of :class:`~edgeexit.targets.base.Target`. No target is
ever replaced by another of the same name.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from edgeexit.errors import TargetError
from edgeexit.targets.base import Target
from edgeexit.targets.faults import summary
from edgeexit.targets.info import DeviceInfo, Unavailable

GROUP = "edgeexit.targets"
"""The entry-point group of third-party targets."""

_BUILT_IN = (
    EntryPoint("onnxruntime", "edgeexit.targets.onnxruntime.target:OnnxRuntimeTarget", GROUP),
    EntryPoint("openvino", "edgeexit.targets.openvino.target:OpenVinoTarget", GROUP),
    EntryPoint("tensorrt", "edgeexit.targets.tensorrt.target:TensorRtTarget", GROUP),
    EntryPoint("rtx", "edgeexit.targets.tensorrt.target:RtxTarget", GROUP),
)


def target_names() -> tuple[str, ...]:
    """Return the names of all targets, the built-in ones first; none is loaded."""
    return tuple(_entries())


def get_target(name: str) -> Target:
    """Return a new instance of the named target, whether its engine is installed or not.

    Raises:
        TargetError: No target has that name, several packages claim it, or its package is broken.
    """
    entries = _entries()
    if name not in entries:
        raise TargetError(
            f"there is no target {name!r}: the targets are {', '.join(entries)}.",
            hint="choose one of them, or install the package that brings it.",
            code="target.unknown",
        )
    claims = entries[name]
    if len(claims) > 1:
        raise TargetError(
            f"several packages claim the target name {name!r}: "
            f"{', '.join(_origin(claim) for claim in claims)}.",
            hint="uninstall all of them but one.",
            code="target.conflict",
        )
    return _load(claims[0])


def available_targets() -> dict[str, DeviceInfo | Unavailable]:
    """Return what each target finds on this machine, or why it cannot run here; never raises."""
    return {name: _probe(name) for name in target_names()}


def _probe(name: str) -> DeviceInfo | Unavailable:
    try:
        return get_target(name).probe()
    except TargetError as error:
        return Unavailable(error.message, error.hint)


def _entries() -> dict[str, list[EntryPoint]]:
    entries: dict[str, list[EntryPoint]] = {}
    installed = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    for entry in (*_BUILT_IN, *installed):
        claims = entries.setdefault(entry.name, [])
        # A package installed twice on the path claims its name twice, with the same class.
        if entry.value not in [claim.value for claim in claims]:
            claims.append(entry)
    return entries


def _load(entry: EntryPoint) -> Target:
    try:
        target = entry.load()()
    except Exception as error:
        raise TargetError(
            f"target {entry.name!r} from {_origin(entry)} cannot be loaded: {summary(error)}",
            hint="mend or uninstall that package.",
            code="target.broken",
        ) from error
    if not isinstance(target, Target) or target.name != entry.name:
        raise TargetError(
            f"target {entry.name!r} from {_origin(entry)} is no Target of that name.",
            hint="its entry point must name a subclass of edgeexit.targets.base.Target whose "
            "name is the entry's.",
            code="target.broken",
        )
    return target


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} ({entry.value})" if entry.dist else f"edgeexit ({entry.value})"

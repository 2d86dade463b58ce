"""``exits.json``: an exit family under its own digest, tied to one manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeexit.bundle.atomic import write_atomic
from edgeexit.bundle.codec import decode, encode
from edgeexit.bundle.exits import ExitFamily
from edgeexit.bundle.integrity import read_bounded
from edgeexit.bundle.jsonfile import Json, seal_json, unseal_json
from edgeexit.bundle.specs import Manifest
from edgeexit.errors import BundleError

MAX_EXITS_BYTES = 16 << 20

_MAYBE = ("certificate", "tail")
"""Keys of a family that came later; a file that lacks them says null."""

_LATER: Mapping[str, Json] = {"errors": [], "estimated": False, "mode": "", "batch": None}
"""Keys of a cost table that came later, and what a file says that lacks them."""


def exits_bytes(family: ExitFamily) -> bytes:
    """Return the contents of an ``exits.json``.

    Raises:
        BundleError: A reader would refuse the family; the message names the field.
    """
    data, _ = seal_json("exits", _without_unused(encode(family)))
    parse_exits(data, "exits.json")
    return data


def parse_exits(data: bytes, where: str) -> ExitFamily:
    """Return the exit family in the bytes of an ``exits.json``.

    Args:
        data: The file's bytes.
        where: Name of the file, for messages.

    Raises:
        BundleError: The bytes are damaged or the family contradicts itself.
    """
    body, _ = unseal_json(data, "exits", where, MAX_EXITS_BYTES)
    return decode(ExitFamily, _with_all_keys(body), where)


def _without_unused(body: Json) -> Json:
    """Drop the keys that came later where they say nothing, so that older readers take the file."""
    if isinstance(body, dict):
        for key in _MAYBE:
            if body[key] is None:
                del body[key]
        for table in _tables(body):
            for key in _LATER:
                if not table[key]:
                    del table[key]
    return body


def _with_all_keys(body: Json) -> Json:
    """Put the keys that came later where a file lacks them."""
    if isinstance(body, dict):
        for key in _MAYBE:
            body.setdefault(key, None)
        for table in _tables(body):
            for key, nothing in _LATER.items():
                table.setdefault(key, nothing)
    return body


def _tables(body: dict[str, Json]) -> list[dict[str, Json]]:
    costs = body.get("costs")
    tables = costs.values() if isinstance(costs, dict) else ()
    return [table for table in tables if isinstance(table, dict)]


def read_exits(path: Path) -> ExitFamily:
    """Return the exit family in the file at ``path``.

    Raises:
        BundleError: As :func:`parse_exits`, or the file is missing or a link.
    """
    return parse_exits(read_bounded(path, path.name, MAX_EXITS_BYTES), path.name)


def write_exits(family: ExitFamily, path: Path) -> None:
    """Write an exit family to ``path``, atomically.

    Raises:
        BundleError: As :func:`exits_bytes`.
        ResourceError: The place is full or read-only; an old file there is untouched.
    """
    write_atomic(path, exits_bytes(family))


def check_fit(family: ExitFamily, manifest: Manifest, digest: str) -> None:
    """Check that ``family`` was calibrated on the bundle with this manifest.

    Args:
        family: The exit family.
        manifest: The bundle's manifest.
        digest: Its digest.

    Raises:
        BundleError: It belongs to another bundle, gate or gate version.
    """
    gates = [stage.gate for stage in manifest.stages if stage.gate]
    found = (family.gate, family.gate_version, tuple(len(vector) for vector in family.params))
    wanted = (gates[0].name, gates[0].version, tuple(len(gate.default_params) for gate in gates))
    if family.manifest_digest == digest and found == wanted:
        return
    fault = f"it belongs to the manifest {family.manifest_digest}, this one is {digest}"
    if family.manifest_digest == digest:
        fault = f"its gate, version and parameter counts are {found}, the bundle's are {wanted}"
    raise BundleError(
        f"the exits were calibrated for another bundle: {fault}.",
        hint="calibrate this bundle.",
        code="exits.other-bundle",
    )

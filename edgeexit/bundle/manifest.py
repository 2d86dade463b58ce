"""``manifest.json``: read with every check, written in one form."""

from __future__ import annotations

from pathlib import Path

from edgeexit.bundle.checks import check_manifest
from edgeexit.bundle.codec import decode, encode
from edgeexit.bundle.integrity import read_bounded
from edgeexit.bundle.jsonfile import Json, damaged, seal_json, unseal_json
from edgeexit.bundle.paths import MANIFEST
from edgeexit.bundle.specs import Manifest
from edgeexit.errors import BundleError

SCHEMA = 1
"""The version of the bundle format that this edgeexit writes and reads."""

MAX_MANIFEST_BYTES = 4 << 20


def manifest_bytes(manifest: Manifest) -> tuple[bytes, str]:
    """Return the contents of ``manifest.json`` and the digest of its body.

    Raises:
        BundleError: A reader would refuse the manifest; the message names the field.
    """
    data, digest = seal_json("manifest", encode(manifest), indent=1)
    # What is written is read back first: a bundle that no one can open is never sealed.
    parse_manifest(data)
    return data, digest


def parse_manifest(data: bytes) -> tuple[Manifest, str]:
    """Return the manifest in the bytes of a ``manifest.json``, and its digest.

    Raises:
        BundleError: It is damaged, of another schema version, or contradicts itself.
    """
    body, digest = unseal_json(data, "manifest", MANIFEST, MAX_MANIFEST_BYTES)
    _check_schema(body)
    manifest = decode(Manifest, body, MANIFEST)
    check_manifest(manifest)
    return manifest, digest


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Return the manifest of the bundle in ``folder``, and its digest.

    Raises:
        BundleError: As :func:`parse_manifest`, or the file is missing or a link.
    """
    return parse_manifest(read_bounded(folder / MANIFEST, MANIFEST, MAX_MANIFEST_BYTES))


def _check_schema(body: Json) -> None:
    # Before the fields: another version may have others.
    schema = body.get("schema") if isinstance(body, dict) else None
    if type(schema) is not int or schema < 1:
        raise damaged(f"{MANIFEST}: schema", f"holds {ascii(schema)[:60]}; it must be {SCHEMA}.")
    if schema > SCHEMA:
        raise BundleError(
            f"{MANIFEST}: the bundle has format version {schema}; this edgeexit reads {SCHEMA}.",
            hint="upgrade edgeexit, or compile the bundle again with this version.",
            code="bundle.schema-newer",
        )

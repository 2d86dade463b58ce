"""A bundle, opened: verified whole before anything in it is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgeexit.bundle.exits import ExitFamily
from edgeexit.bundle.exits_file import check_fit, read_exits, write_exits
from edgeexit.bundle.integrity import open_regular, read_bounded, verify_files
from edgeexit.bundle.jsonfile import Json, damaged, parse_json
from edgeexit.bundle.manifest import read_manifest
from edgeexit.bundle.npz import NpzError, read_npz
from edgeexit.bundle.paths import EXITS
from edgeexit.bundle.recipe import RECIPE, Recipe
from edgeexit.bundle.specs import Manifest, TensorSpec
from edgeexit.bundle.swap import recover
from edgeexit.errors import BundleError

GOLDEN = "golden.npz"
PARITY = "parity.json"

_MAX_GOLDEN_BYTES = 256 << 20
_MAX_PARITY_BYTES = 4 << 20
_MAX_RECIPE_BYTES = 4 << 20
_MAX_SWAPS = 8

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Golden:
    """Inputs and what the bundle's whole graph answered to them when it was compiled.

    Attributes:
        inputs: An array a model input, by name.
        outputs: Every exit's tensors by name, by exit name; ``bfloat16`` is stored as float32.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Mapping[str, Array]]


def golden_key(exit_name: str, tensor: str) -> str:
    """Return the name in ``golden.npz`` of an exit's tensor."""
    return f"output/{exit_name}/{tensor}"


class Bundle:
    """A verified bundle. Make one with :meth:`open`.

    Attributes:
        folder: The bundle's folder.
        manifest: What it says of itself.
        digest: SHA-256 of its manifest, which seals every other file; it names the bundle.
    """

    def __init__(self, folder: Path, manifest: Manifest, digest: str) -> None:
        self.folder = folder
        self.manifest = manifest
        self.digest = digest

    @classmethod
    def open(cls, path: str | os.PathLike[str] | Bundle) -> Bundle:
        """Return the bundle at ``path`` after checking its manifest and hashing every file.

        Raises:
            BundleError: It is missing, damaged, of a newer format or holds what it must not; the
                message names the file.
        """
        if isinstance(path, Bundle):
            return path
        folder = Path(path)
        for _ in range(_MAX_SWAPS):
            recover(folder)
            identity = _identity(folder)
            try:
                return cls._verified(folder)
            except BundleError:
                # A recompile may have swapped the folder while it was read.
                if _identity(folder) == identity:
                    raise
        return cls._verified(folder)

    @classmethod
    def _verified(cls, folder: Path) -> Bundle:
        if not folder.is_dir():
            fault = "is a file; a bundle is a folder" if folder.exists() else "does not exist"
            raise BundleError(
                f"{folder} {fault}.",
                hint="name a folder that edgeexit compile wrote, such as model.eex.",
                code="bundle.missing",
            )
        manifest, digest = read_manifest(folder)
        verify_files(folder, manifest.files)
        return cls(folder, manifest, digest)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names, or None where unknown."""
        return self.manifest.classes

    def __repr__(self) -> str:
        """Return the bundle's folder, size and the head of its digest."""
        manifest = self.manifest
        return (
            f"<Bundle {str(self.folder)!r}: {manifest.name}, {len(manifest.stages)} exits, "
            f"{manifest.precision}, {self.digest[:12]}>"
        )

    def holds(self, relative: str) -> bool:
        """Return whether a file is among the sealed ones."""
        return any(entry.path == relative for entry in self.manifest.files)

    def file(self, relative: str) -> Path:
        """Return the path of a sealed file.

        Raises:
            BundleError: The manifest does not name it.
        """
        if not self.holds(relative):
            raise damaged(ascii(relative), "is not in the manifest.", code="bundle.missing-file")
        return self.folder / relative

    def read_json(self, relative: str, most: int) -> Json:
        """Return the value of a sealed JSON file.

        Args:
            relative: Its path.
            most: Bytes it may have.

        Raises:
            BundleError: The manifest does not name it, it is larger, or no JSON.
        """
        return parse_json(read_bounded(self.file(relative), relative, most), relative, most)

    def exits(self, path: str | os.PathLike[str] | None = None) -> ExitFamily | None:
        """Return the calibrated exit family, read anew, or None where there is none yet.

        Args:
            path: A file that holds it, or None for the bundle's own ``exits.json``.

        Raises:
            BundleError: It is damaged or was calibrated for another bundle; or ``path`` is given
                and missing.
        """
        own = self.folder / EXITS
        if path is None and not os.path.lexists(own):
            return None
        family = read_exits(own if path is None else Path(path))
        check_fit(family, self.manifest, self.digest)
        return family

    def write_exits(self, family: ExitFamily, path: str | os.PathLike[str] | None = None) -> Path:
        """Write ``family`` atomically as the bundle's ``exits.json``, or to ``path``.

        Returns:
            Where it was written.

        Raises:
            BundleError: It was calibrated for another bundle.
            ResourceError: The place is full or read-only; an old file there is untouched.
        """
        check_fit(family, self.manifest, self.digest)
        place = self.folder / EXITS if path is None else Path(path)
        write_exits(family, place)
        return place

    def golden(self) -> Golden:
        """Return the golden inputs and outputs.

        Raises:
            BundleError: The bundle has none, or they do not match the manifest.
        """
        path = self.file(GOLDEN)
        try:
            with open_regular(path, GOLDEN) as file:
                arrays = read_npz(file, limit=_MAX_GOLDEN_BYTES)
        except NpzError as error:
            raise damaged(GOLDEN, f"{error}.") from None
        inputs = {
            spec.name: _golden_array(arrays, f"input/{spec.name}", spec)
            for spec in self.manifest.inputs
        }
        outputs = {
            stage.exit.name: {
                spec.name: _golden_array(arrays, golden_key(stage.exit.name, spec.name), spec)
                for spec in stage.exit.outputs
            }
            for stage in self.manifest.stages
        }
        if arrays:
            raise damaged(GOLDEN, f"holds {ascii(min(arrays))[:80]}, which no tensor is.")
        return Golden(inputs, outputs)

    def recipe(self) -> Recipe | None:
        """Return how engines of its graphs are to be built; None where it was not prepared for it.

        Raises:
            BundleError: It is no recipe.
        """
        if not self.holds(RECIPE):
            return None
        return Recipe.from_json(self.read_json(RECIPE, _MAX_RECIPE_BYTES))

    def parity(self) -> dict[str, Json]:
        """Return the parity report that was measured when the bundle was compiled.

        Raises:
            BundleError: The bundle has none, or it is no JSON object.
        """
        report = self.read_json(PARITY, _MAX_PARITY_BYTES)
        if not isinstance(report, dict):
            raise damaged(PARITY, "must hold an object.")
        return report


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _golden_array(arrays: dict[str, Array], key: str, spec: TensorSpec) -> Array:
    """Take the array of ``spec`` out of ``arrays``."""
    if key not in arrays:
        raise damaged(GOLDEN, f"has no array {key!r}.")
    array = arrays.pop(key)
    dtype = "float32" if spec.dtype == "bfloat16" else spec.dtype
    fixed = [
        size == dim
        for size, dim in zip(array.shape, spec.shape, strict=False)
        if isinstance(dim, int)
    ]
    if array.dtype.name != dtype or array.ndim != len(spec.shape) or not all(fixed):
        fault = f"is {array.dtype} {array.shape}, the manifest says {dtype} {spec.shape}."
        raise damaged(f"{GOLDEN}: {key}", fault)
    return array

"""Finds the family of a backbone: by its name, or by what its ``config.json`` says.

A package of its own adds a family with an entry point in the group ``edgeexit.families``::

    [project.entry-points."edgeexit.families"]
    swin = "my_package.swin:SwinFamily"
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from edgeexit.dmpo.config import BackboneConfig
from edgeexit.dmpo.families.base import Backbone, Family
from edgeexit.dmpo.families.source import read_config, source_folder
from edgeexit.dmpo.families.suggest import guess
from edgeexit.errors import InputError, ModelError

GROUP = "edgeexit.families"
BUILT_IN = {
    "bert": "bert:BertFamily",
    "resnet": "resnet:ResNetFamily",
    "small-vit": "small_vit:SmallViTFamily",
    "vit": "vit:ViTFamily",
}
"""The families that come with edgeexit: the file beside this one, and the class in it."""


def find_family(name: str) -> Family:
    """Return the family of that name.

    Raises:
        ModelError: There is none, or the package that adds it cannot be loaded.
    """
    if name in BUILT_IN:
        return _built_in(name)
    added = _added()
    if name in added:
        return _load(added[name])
    known = sorted({*BUILT_IN, *added})
    raise ModelError(
        f"there is no backbone family {name!r}; the families are {', '.join(known)}.",
        hint=f"{guess(name, known)}a package adds one with an entry point in the group {GROUP}.",
        code="model.unknown-family",
    )


def family_of(source: str, revision: str | None = None) -> Family:
    """Return the family that reads the ``model_type`` in a backbone's ``config.json``.

    Args:
        source: A local folder, or a hub name.
        revision: Branch, tag or commit of a hub model.

    Raises:
        ModelError: The source is not to be had, or no family reads it.
    """
    kind = read_config(source_folder(source, revision))["model_type"]
    readable: list[str] = []
    for family in _families():
        if kind in family.model_types:
            return family
        readable.extend(family.model_types)
    raise ModelError(
        f"no backbone family reads the model type {kind!r} of {source!r}; they read "
        f"{', '.join(sorted(readable))}.",
        hint=f"{guess(kind, readable)}take a backbone of these, or add a family of your own in the "
        f"entry-point group {GROUP}.",
        code="model.unknown-family",
    )


def load_backbone(
    config: BackboneConfig, length: int, size: tuple[int, int] | None = None
) -> Backbone:
    """Return the backbone that a configuration asks for, at its full depth.

    Args:
        config: Table ``[backbone]``.
        length: Tokens a text is padded to; images ignore it.
        size: Height and width of the images it will see; None for the backbone's own.

    Raises:
        ModelError: The family is unknown, or the pretrained backbone cannot be loaded.
        InputError: Neither family nor source is given, settings are beside a source or wrong, or
            the backbone does not take images of that size.
    """
    backbone = _load_backbone(config, length)
    if size is not None:
        backbone.resize(*size)
    return backbone


def _load_backbone(config: BackboneConfig, length: int) -> Backbone:
    if config.source is not None:
        if config.settings:
            raise InputError(
                f"[backbone] gives both source = {config.source!r} and settings "
                f"({', '.join(config.settings)}); a pretrained backbone brings its own.",
                hint="leave out the settings, or leave out the source to train from scratch.",
                code="input.backbone-settings",
            )
        named = find_family(config.family) if config.family else None
        family = named or family_of(config.source, config.revision)
        return family.pretrained(config.source, config.revision, length=length)
    if config.family is None:
        raise InputError(
            "[backbone] has neither source nor family.",
            hint="give source (a folder or a hub name), or family to train from scratch.",
            code="input.backbone-missing",
        )
    return find_family(config.family).from_scratch(config.settings, length=length)


def _families() -> Iterator[Family]:
    yield from map(_built_in, BUILT_IN)
    yield from map(_load, _added().values())


def _built_in(name: str) -> Family:
    file, _, kind = BUILT_IN[name].partition(":")
    family: type[Family] = getattr(import_module(f"edgeexit.dmpo.families.{file}"), kind)
    return family()


def _added() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load(entry: EntryPoint) -> Family:
    package = entry.dist.name if entry.dist else entry.module
    try:
        kind = entry.load()
        # Of a foreign package: whatever its import raises, the user must learn which one it was.
    except Exception as error:
        raise _broken(entry, package, f"cannot be loaded: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Family)):
        raise _broken(entry, package, f"is {kind!r}, no subclass of Family")
    try:
        return kind()
    except TypeError as error:
        raise _broken(entry, package, f"cannot be built: {error}") from error


def _broken(entry: EntryPoint, package: str, what: str) -> ModelError:
    return ModelError(
        f"the backbone family {entry.name!r} of the package {package!r} {what}.",
        hint=f"update or uninstall {package}.",
        code="model.broken-family",
    )

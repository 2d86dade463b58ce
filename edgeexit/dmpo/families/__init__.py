"""Backbone families: one file an architecture; see :mod:`.base` for the contract.

A new family is a file here with a subclass of :class:`~edgeexit.dmpo.families.base.Family` and a
line in :data:`~edgeexit.dmpo.families.registry.BUILT_IN`; a package of its own registers one in
the entry-point group ``edgeexit.families``.
"""

from __future__ import annotations

from edgeexit.dmpo.families.base import Backbone, Family, Features, Hidden, InputShape
from edgeexit.dmpo.families.registry import family_of, find_family, load_backbone

__all__ = [
    "Backbone",
    "Family",
    "Features",
    "Hidden",
    "InputShape",
    "family_of",
    "find_family",
    "load_backbone",
]

"""Which of a model's exits a bundle keeps, and why: ``selection.json``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.codec import decode, encode
from edgeexit.bundle.jsonfile import Json, damaged

SELECTION = "selection.json"
"""Path of the selection in a bundle."""

SCHEMA = 1

_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class ExitEntry:
    """One exit of the model that was compiled.

    Attributes:
        number: From 1, in the model with all its exits.
        name: Its name.
        kept: Whether the bundle has it.
        cost: What it adds to the kept exits, its head and its gate, as a fraction of the static
            model; None where nothing was searched, and for the last exit, which always stays.
        gain: Percentage points of quality that having it is worth beside the kept exits, head and
            gate paid; None where the others cannot meet the budgets without it, or as for ``cost``.
        error: Standard error of ``gain``.
    """

    number: int
    name: str
    kept: bool
    cost: float | None = None
    gain: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Tried:
    """One subset of the exits.

    Attributes:
        exits: Their numbers.
        quality: Mean quality at the budgets, a fraction, on samples that nothing was fitted on;
            None where the subset cannot meet one of the budgets.
        behind: Percentage points behind the best subset.
        error: Standard error of ``behind``, samples paired.
    """

    exits: tuple[int, ...]
    quality: float | None
    behind: float | None
    error: float | None


@dataclass(frozen=True)
class ExitSearch:
    """How the kept exits were found.

    Attributes:
        method: ``exhaustive``: every subset was tried. ``greedy``: exits were dropped one by one.
        subsets: Number of subsets that there are; ``tried`` lists those that were looked at.
        budgets: Mean costs that quality is averaged over, as fractions of the static model.
        policy: The policy that was fitted.
        quality_kind: ``accuracy``, or ``agreement`` with the last exit where there are no labels.
        samples: Samples looked at.
        tried: Subsets, the best first.
        quality: Quality of the kept exits, a fraction.
        gain: Percentage points of quality above the model with all exits, ``gain_error`` its
            standard error.
        gain_error: See ``gain``.
        given_up: Percentage points behind the best subset, given up for fewer exits;
            ``given_up_error`` its standard error, which it does not exceed.
        given_up_error: See ``given_up``.
        gap: Percentage points by which a subset that was not tried may be better than the best
            of those that were; 0 where all were.
        relaxed_gap: Percentage points by which the policy with all exits, and nothing to pay for
            heads and gates that a sample passes, is better than the best; None where all were
            tried. Nearer to the truth than ``gap`` and, unlike it, not a bound.
    """

    method: Literal["exhaustive", "greedy"]
    subsets: int
    budgets: tuple[float, ...]
    policy: str
    quality_kind: str
    samples: int
    tried: tuple[Tried, ...]
    quality: float
    gain: float
    gain_error: float
    given_up: float
    given_up_error: float
    gap: float
    relaxed_gap: float | None


@dataclass(frozen=True)
class Selection:
    """Which of a model's exits a bundle keeps.

    Attributes:
        schema: Version of this file's format.
        how: ``given``: by number. ``searched``: by what they are worth. ``truncated``: one exit,
            at which the model was cut.
        exits: All exits of the model, in order.
        search: How they were found, where they were searched.
    """

    schema: int
    how: Literal["given", "searched", "truncated"]
    exits: tuple[ExitEntry, ...]
    search: ExitSearch | None = None

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the kept exits."""
        return tuple(entry.number for entry in self.exits if entry.kept)

    def as_json(self) -> dict[str, Json]:
        """Return the selection as JSON values."""
        return cast(dict[str, Json], encode(self))

    @classmethod
    def from_json(cls, value: Json) -> Selection:
        """Return the selection that JSON values hold.

        Raises:
            BundleError: A key is unknown or missing, a value has another type, or the schema is
                another.
        """
        found = decode(cls, value, SELECTION)
        if found.schema != SCHEMA:
            raise damaged(SELECTION, f"has schema {found.schema}; this edgeexit reads {SCHEMA}.")
        return found


def model_numbers(bundle: Bundle) -> tuple[int, ...]:
    """Return the numbers that the bundle's exits have in the model that it was compiled from.

    Raises:
        BundleError: Its selection is none.
    """
    selection = read_selection(bundle)
    return selection.kept if selection else tuple(s.number for s in bundle.manifest.stages)


def read_selection(bundle: Bundle) -> Selection | None:
    """Return which exits a bundle keeps; None where it was compiled with all exits, or by name.

    Raises:
        BundleError: It is no selection.
    """
    if not bundle.holds(SELECTION):
        return None
    return Selection.from_json(bundle.read_json(SELECTION, _MAX_BYTES))

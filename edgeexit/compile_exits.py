"""Which exits a compilation keeps: by name, by number, by a search, or one alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.selection import SCHEMA, ExitEntry, Selection
from edgeexit.bundle.specs import BATCH
from edgeexit.datasets import Dataset
from edgeexit.errors import InputError, TargetError
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.result import AllExits
from edgeexit.runtime.runtime import Runtime

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeexit.runtime.inputs import Inputs

AUTO = "auto"
"""What to give for the exits to have them searched."""

_ANYWHERE = "cpu"


@dataclass(frozen=True)
class WantedExits:
    """What the user said of the exits.

    Attributes:
        names: Names of the exits' tensors in order; None for all outputs.
        numbers: Numbers, from 1, of the exits to keep among these; None for all.
        auto: Whether the exits to keep are searched.
        budget: The mean cost to search at, or None.
        truncate: Number of the one exit at which the model is cut, or None.
    """

    names: tuple[str, ...] | None = None
    numbers: tuple[int, ...] | None = None
    auto: bool = False
    budget: Budget | None = None
    truncate: int | None = None

    @classmethod
    def of(
        cls,
        exits: Sequence[str | int] | str | None,
        budget: Budget | float | str | None = None,
        truncate: int | None = None,
        names: Sequence[str] | None = None,
    ) -> WantedExits:
        """Return what the arguments of :func:`~edgeexit.compiler.compile_model` ask for.

        Args:
            exits: Names, numbers, or ``auto``.
            budget: The mean cost to search at.
            truncate: The exit to cut at.
            names: The exits that the source of the model itself names, among which numbers count.

        Raises:
            BudgetError: The budget is malformed.
            InputError: The arguments contradict each other, or a number is given twice.
        """
        words = (exits,) if isinstance(exits, str) else tuple(exits or ())
        auto = words == (AUTO,)
        numbers = _numbers(words)
        if budget is not None and not auto:
            raise InputError(
                f"budget {budget} is of use to a compilation only where exits are searched.",
                hint="add --exits auto, or give the budget to edgeexit calibrate.",
                code="selection.budget",
            )
        if truncate is not None and (auto or numbers):
            raise InputError(
                "a model cut at one exit keeps no other, but --exits says which to keep.",
                hint="give --truncate or the exits to keep, not both.",
                code="selection.truncate",
            )
        return cls(
            tuple(names) if names and (auto or numbers or not words) else _names(words, numbers),
            numbers,
            auto,
            None if budget is None else Budget.parse(budget),
            truncate,
        )

    def take(self, graph: ir.Model) -> Selection | None:
        """Cut the exits that were not asked for by number out of a normalized model.

        Returns:
            What was kept; None where nothing was asked for by number.

        Raises:
            InputError: A number is none of an exit, or only one exit would be left.
        """
        from edgeexit.graph.gate_inputs import exit_values
        from edgeexit.graph.pruning import keep_exits

        names = [str(value.name) for value in exit_values(graph.graph)]
        numbers = self.numbers if self.truncate is None else (self.truncate,)
        if numbers is None:
            return None
        if all(str(number) in names for number in numbers):
            # Some exporters name outputs 495 and 501; a name comes before a place.
            numbers = tuple(sorted(names.index(str(number)) + 1 for number in numbers))
        outside = [number for number in numbers if not 1 <= number <= len(names)]
        if outside:
            raise InputError(
                f"there is no exit {outside[0]}: the model has {len(names)} exits, "
                f"{', '.join(names)}.",
                hint=f"give numbers from 1 to {len(names)}.",
                code="selection.number",
            )
        if self.truncate is None and len(numbers) < 2:
            raise InputError(
                f"exit {numbers[0]} alone would be kept; a model with early exits has two at "
                "least.",
                hint=f"keep another exit, or cut the model there with --truncate {numbers[0]}.",
                code="selection.one-exit",
            )
        keep_exits(graph, numbers)
        entries = tuple(
            ExitEntry(number, name, number in numbers) for number, name in enumerate(names, 1)
        )
        return Selection(SCHEMA, "given" if self.truncate is None else "truncated", entries)

    def require(self, data: Dataset | None) -> None:
        """Check that there are data to search with, before time is spent on anything else.

        Raises:
            InputError: There are none, or fewer than 50 samples.
        """
        from edgeexit.calibrate.builder import MINIMUM_SAMPLES

        if not self.auto:
            return
        if data is None:
            raise InputError(
                "which exits to keep is found on data, and there are none.",
                hint="give labelled data with --data; 1,000 samples or more tell small gains.",
                code="selection.data",
            )
        if len(data) < MINIMUM_SAMPLES:
            raise InputError(
                f"{len(data)} samples are too few to choose exits by; {MINIMUM_SAMPLES} is the "
                "least.",
                hint="give 1,000 samples or more.",
                code="data.samples",
            )


def search_kept(
    bundle: Bundle,
    graph: ir.Model,
    data: Dataset,
    budget: Budget | None,
    device: str | Path,
    probe: Mapping[str, npt.NDArray[Any]] | None,
) -> Selection:
    """Take exit records from a bundle with all exits and search which of them to keep.

    Args:
        bundle: The bundle.
        graph: The graph that it was sliced from, its weights beside the bundle's graphs.
        data: The data; without labels quality is agreement with the last exit.
        budget: The mean cost to be good at, or None.
        device: Device to run on; where its engine is not installed here, ``cpu``.
        probe: Some inputs, which tell the sizes at which FLOPs are counted.

    Raises:
        BudgetError: The budget is outside what the exits can meet.
        InputError: The data or the gate do not suffice.
        TargetError: No engine here runs the bundle.
    """
    from edgeexit.calibrate.collect import collect_records
    from edgeexit.calibrate.kept_exits import ExitFlops
    from edgeexit.calibrate.subsets import search_exits
    from edgeexit.graph.axes import measure_axes
    from edgeexit.graph.gate_inputs import exit_values
    from edgeexit.graph.pruning import exit_flops

    stages = bundle.manifest.stages
    folder = bundle.file(bundle.manifest.whole).parent
    samples = dict(probe) if probe else None
    measured = measure_axes(graph, exit_values(graph.graph), samples, folder)
    flops = ExitFlops(
        exit_flops(graph, {**measured.sizes, BATCH: 1}),
        tuple(stage.gate.flops for stage in stages if stage.gate),
    )
    runtime = _Listener(bundle, _device(bundle, device))
    with runtime:
        records = collect_records(runtime, bundle.manifest, data)
        answers = np.concatenate(runtime.answers)
    return search_exits(records, answers, flops, [stage.exit.name for stage in stages], budget)


class _Listener(Runtime):
    """A runtime that remembers the top class of every exit, which exit records do not hold."""

    def __init__(self, bundle: Bundle, device: str | Path) -> None:
        self.answers: list[npt.NDArray[np.int64]] = []
        super().__init__(bundle, target=device, exits=False)

    def all_exits(self, inputs: Inputs) -> AllExits:
        """Run every sample through all stages and return what each exit says."""
        found = super().all_exits(inputs)
        self.answers.append(np.stack([array.argmax(axis=1) for array in found.logits], axis=1))
        return found


def _device(bundle: Bundle, device: str | Path) -> str | Path:
    """Return the device, or ``cpu`` where its engine is not here, as the parity report does."""
    try:
        Machine.of(bundle, device)
    except TargetError:
        return _ANYWHERE
    return device


def _numbers(words: Sequence[str | int]) -> tuple[int, ...] | None:
    """Return the numbers that the words are, ascending; None where they are names."""
    if not words or not all(str(word).isdecimal() for word in words):
        return None
    numbers = sorted(int(word) for word in words)
    twice = [number for number in numbers if numbers.count(number) > 1]
    if twice:
        raise InputError(
            f"exit {twice[0]} is given twice in {','.join(str(word) for word in words)}.",
            hint="give each exit to keep once.",
            code="selection.duplicate",
        )
    return tuple(numbers)


def _names(words: Sequence[str | int], numbers: tuple[int, ...] | None) -> tuple[str, ...] | None:
    """Return the names that the words are; None where they are numbers, ``auto`` or none."""
    if not words or numbers is not None or tuple(words) == (AUTO,):
        return None
    return tuple(str(word) for word in words)

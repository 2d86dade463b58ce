"""``methods.md``: the tables between two markers, the words around them left as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeexit.bundle.atomic import write_atomic
from tests.benchmarks.methods.cells import grid
from tests.benchmarks.methods.goals import goals
from tests.benchmarks.methods.recipes import RECIPES, SEEDS
from tests.benchmarks.methods.results import Results
from tests.benchmarks.methods.table import task_tables

BEGIN, END = "<!-- methods: begin -->", "<!-- methods: end -->"
"""Between these lines stands what the command writes."""


@dataclass(frozen=True)
class Pass:
    """Cells of another size than the table's, whose tables follow it.

    Attributes:
        title: Their heading.
        methods: Methods that are trained.
        seeds: Seeds.
    """

    title: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]


PASSES: Mapping[str, Pass] = MappingProxyType(
    {
        "longer": Pass("With twice the epochs", ("joint", "dmpo"), SEEDS),
        "larger": Pass("With two and a half times the images", ("joint", "dmpo"), SEEDS),
        "full": Pass("On all of the data, one seed", ("static", "joint", "sweet", "dmpo"), (0,)),
    }
)
"""All passes by their size, in the order of the page."""

_PAGE = f"""# What tuning by DMPO gains

Everything between the lines is written by one command; what is done is not done again:

```
python -m tests.benchmarks.methods               # every cell that is missing, then this page
python -m tests.benchmarks.methods --size full   # the headline methods once on all of the data
python -m tests.benchmarks.methods --size longer # joint and DMPO on the CNN, with twice the epochs
python -m tests.benchmarks.methods --size larger # the same, with 10,000 images
python -m tests.benchmarks.methods --table       # this page alone, from the cells there are
```

How to read the figures:

- **Cells.** A cell is one training: a task, a method, a seed. The seed draws the training subset,
  the initialisation and the order; all methods of a seed see the same samples. Each cell is a file
  in `docs/methods/`, with all its figures, its machine and the digest of its recipe.
- **Accuracy** is in per cent of the test set, ± the standard error of the mean over the seeds.
  Differences are paired by seed, in points, ± the standard error of the paired difference. No mean
  is printed unless every seed is there.
- **Budgets.** "30 % of FLOPs" is 0.30 of the FLOPs of the static backbone at full depth with a
  linear head, the same for every method of a task. Thresholds are calibrated by the project's own
  calibrator on samples kept from training; the mean cost that came out on the test set is in
  brackets. Costs count trunk, predictors, bypasses and gates.
- **Static** models have one exit and no gates; cut ones are what one would train instead, with the
  linear head that is usual or, the harder rival, with DMPO's high-order predictor (no bypass).
- **Met** means: over plain joint training, that the mean difference less its standard error is at
  least what was wanted; elsewhere, that the mean difference is not below 0. Where DMPO cannot run
  at a cost, because its first exit is dearer, nothing is judged.

---

{BEGIN}
{END}
"""

CLAIM = (
    "The paper's claim (arXiv 2511.03245, abstract): with 30 % of the FLOPs, DMPO is comparable "
    "with or better than its counterparts."
)


def write_page(folder: Path, size: str = "table") -> Path:
    """Write the page of the cells below ``folder``.

    Args:
        folder: Holds ``methods.md`` and ``methods/``.
        size: ``table``, or ``quick`` for quick runs.

    Raises:
        ValueError: The page lacks a marker.
    """
    results = Results.read(grid(RECIPES, SEEDS, size=size), cells_folder(folder, size))
    others = {
        name: Results.read(grid(RECIPES, one.seeds, one.methods, name), cells_folder(folder, name))
        for name, one in PASSES.items()
    }
    path = folder / "methods.md"
    text = path.read_text() if path.exists() else _PAGE
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{path} lacks the line {BEGIN!r} or {END!r}")
    body = "\n".join(_body(results, others))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, f"{before}{BEGIN}\n\n{body}\n{END}{after}".encode())
    return path


def cells_folder(folder: Path, size: str) -> Path:
    """Return the folder of a size's cells below the folder of ``methods.md``."""
    return folder / "methods" / (size if size in PASSES else "cells")


def _body(results: Results, others: Mapping[str, Results]) -> Iterator[str]:
    yield CLAIM + "\n"
    yield from _summary(results)
    if results.stale:
        yield f"\nLeft out, because their recipe has changed since: {', '.join(results.stale)}."
    yield from (task_tables(results, task) for task in RECIPES)
    for size, other in others.items():
        if other.found:
            yield f"\n# {PASSES[size].title}\n"
            yield from (task_tables(other, task) for task in RECIPES if other.count(task)[0])
    yield from _machines(results, *others.values())


def _summary(results: Results) -> Iterator[str]:
    """Yield how many wanted figures are met, and each that is not."""
    found = [(task, goal) for task in RECIPES for goal in goals(results, task)]
    judged = [(task, goal) for task, goal in found if goal.met is not None]
    met = sum(bool(goal.met) for _, goal in judged)
    done = [results.count(task) for task in RECIPES]
    yield (
        f"{sum(count for count, _ in done)} of {sum(total for _, total in done)} cells are done; "
        f"{met} of {len(judged)} wanted figures are met, {len(found) - len(judged)} are reported "
        "or still missing.\n"
    )
    for task, goal in judged:
        if not goal.met and goal.found:
            yield f"- not met: {RECIPES[task].title}: {goal.what}: {goal.found} ({goal.wanted})"


def _machines(*parts: Results) -> Iterator[str]:
    """Yield where the cells were trained."""
    seen: dict[str, int] = {}
    for part in parts:
        for result in part.found.values():
            told = _machine(result["machine"])
            seen[told] = seen.get(told, 0) + 1
    for told, count in seen.items():
        yield f"\n{count} cells: {told}."


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['processor']}, {machine['system']}; {versions}"

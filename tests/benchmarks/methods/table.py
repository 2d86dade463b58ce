"""The proof table of one task, as markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.methods.cells import SECOND_ORDER, Cell, Method, methods, static_name
from tests.benchmarks.methods.goals import goals
from tests.benchmarks.methods.recipes import BUDGETS, RECIPES
from tests.benchmarks.methods.results import (
    Estimate,
    Figure,
    Results,
    accuracy_of,
    at,
    cost_at,
    last_accuracy,
    reached_at,
    training_figure,
)

COMMAND = "python -m tests.benchmarks.methods"

_MARKS = {True: "yes", False: "**no**", None: ""}
_UNREACHED = "†"
_TOO_DEAR = (
    f"\n{_UNREACHED} leaving always at the first exit costs more than this: the figure is that "
    "exit's accuracy, in brackets its cost."
)
_TRAINING = ("cpu_seconds", "peak_mib", "tuned", "parameters", "epochs")


def task_tables(results: Results, task: str) -> str:
    """Return a task's tables under their heading."""
    return "\n".join(_Tables(results, task).lines()) + "\n"


@dataclass(frozen=True)
class _Tables:
    results: Results
    task: str

    def lines(self) -> Iterator[str]:
        done, total = self.results.count(self.task)
        seeds = ", ".join(str(seed) for seed in self.results.seeds(self.task))
        yield f"\n## {RECIPES[self.task].title}\n"
        yield f"{done} of {total} cells are done; the seeds are {seeds}.{self._samples()}"
        size = self.results.cells[0].size
        told = {"table": "", "quick": " --quick"}.get(size, f" --size {size}")
        yield f"Printed by `{COMMAND}{told} --only {self.task}`.\n"
        if not done:
            return
        for title, part in self._parts():
            yield f"### {title}\n"
            yield from part
            yield ""
        yield self._parity()

    def _parts(self) -> Iterator[tuple[str, Iterator[str]]]:
        """Yield every table with its title."""
        yield "Accuracy", self._accuracy()
        if self._cut():
            yield "At the FLOPs of the backbone that is cut at an exit", self._equal_flops()
        if self._cut(SECOND_ORDER):
            yield "The harder rival: cut, but with DMPO's predictor", self._rivals()
        yield "Every exit alone", self._exits()
        yield "What was wanted", self._goals()
        yield "What training costs", self._training()

    def _accuracy(self) -> Iterator[str]:
        """Yield accuracy at the budgets, and the difference to plain joint training."""
        places = range(len(BUDGETS))
        budgets = [f"{budget:.0%} of FLOPs" for budget in BUDGETS]
        over = [f"over joint, {budget:.0%}" for budget in BUDGETS]
        yield from _head(["method", *budgets, "last exit", *over])
        for name, method in self._methods().items():
            gated = name in self._gated()
            row = [self._point(name, "points", index) if gated else "" for index in places]
            row.append(self._mean(name, last_accuracy) + self._at(name, -1))
            row += [self._over_joint(name, index) if gated else "" for index in places]
            yield _line([method.title, *row])
        if any(self._unreached(name, "points", i) for name in self._gated() for i in places):
            yield _TOO_DEAR

    def _point(self, name: str, part: str, index: int) -> str:
        """Return accuracy and, in brackets, the realised cost at one of the budgets."""
        accuracy = self._mean(name, at(part, index))
        cost = self.results.estimate(self.task, name, cost_at(part, index))
        mark = _UNREACHED if self._unreached(name, part, index) else ""
        return accuracy if cost is None else f"{accuracy} ({cost.mean:.3f}){mark}"

    def _over_joint(self, name: str, index: int) -> str:
        figure = at("points", index)
        pair = (name, "joint")
        return "" if name == "joint" else self._difference(pair, (figure, figure))

    def _equal_flops(self) -> Iterator[str]:
        """Yield the static backbones against the multi-exit models calibrated at their cost."""
        names = self._gated()
        yield from _head(["static backbone", "its FLOPs", "its accuracy",
                          *[method.title for method in names.values()],
                          "DMPO whole over it"])  # fmt: skip
        for index, (static, what) in self._cut().items():
            row = [what, self._at(static, -1).removeprefix(" at ")]
            row.append(self._mean(static, last_accuracy))
            row += [self._point(name, "equal_flops", index) for name in names]
            yield _line([*row, self._over_static(index, static)])
        if any(self._unreached(name, "equal_flops", i) for name in names for i in self._cut()):
            yield _TOO_DEAR

    def _rivals(self) -> Iterator[str]:
        """Yield the static backbones that have DMPO's predictor against whole DMPO."""
        yield from _head(["static backbone, high-order predictor", "its FLOPs", "its accuracy",
                          "DMPO whole at the FLOPs of the linear one",
                          "DMPO whole over it"])  # fmt: skip
        for index, (static, what) in self._cut(SECOND_ORDER).items():
            row = [what, self._at(static, -1).removeprefix(" at ")]
            row.append(self._mean(static, last_accuracy))
            row.append(self._point("dmpo", "equal_flops", index))
            yield _line([*row, self._over_static(index, static)])
        if any(self._unreached("dmpo", "equal_flops", i) for i in self._cut(SECOND_ORDER)):
            yield _TOO_DEAR

    def _cut(self, suffix: str = "") -> dict[int, tuple[str, str]]:
        """Return by index of the exit the method that is cut there, and what its row is called."""
        recipe = RECIPES[self.task]
        found = {
            index: (static_name(recipe, index + 1, suffix), f"cut after block {block}")
            for index, block in enumerate(recipe.config.exits.after)
        }
        return {index: each for index, each in found.items() if each[0] in self._methods()}

    def _over_static(self, index: int, static: str) -> str:
        return self._difference(("dmpo", static), (at("equal_flops", index), last_accuracy))

    def _exits(self) -> Iterator[str]:
        """Yield what each exit costs and answers when all samples leave there."""
        after = RECIPES[self.task].config.exits.after
        yield from _head(["method", *[f"after block {block}" for block in after]])
        for name, method in self._gated().items():
            row = [
                self._mean(name, accuracy_of(index)) + self._at(name, index)
                for index in range(len(after))
            ]
            yield _line([method.title, *row])

    def _goals(self) -> Iterator[str]:
        yield from _head(["what", "found", "wanted", "met"])
        for goal in goals(self.results, self.task):
            found = "cells are missing" if goal.found is None else str(goal.found)
            yield _line([goal.what, found, goal.wanted, goal.note or _MARKS[goal.met]])

    def _training(self) -> Iterator[str]:
        """Yield time, memory and parameters of each method: means over the cells that are done."""
        yield from _head(["method", "cells", "processor seconds", "peak memory, MiB",
                          "parameters tuned", "of", "epochs"])  # fmt: skip
        for name, method in self._methods().items():
            columns = [self.results.values(self.task, name, training_figure(key))
                       for key in _TRAINING]  # fmt: skip
            means = [f"{sum(each) / len(each):,.0f}" if each else "" for each in columns]
            yield _line([method.title, str(len(columns[0])), *means])

    def _parity(self) -> str:
        """Return how far the exported graphs are from the torch models they come from."""
        found = [r["parity"] for r in self.results.found.values() if r["task"] == self.task]
        worst = max(max(parity["max_abs_difference"]) for parity in found)
        flips = sum(sum(parity["flips"]) for parity in found)
        inputs = sum(parity["samples"] for parity in found)
        return (
            f"Exported graphs (adapters merged) against torch, {len(found)} models, {inputs:,} "
            f"inputs: logits differ by {worst:.1e} at most; {flips} answers differ."
        )

    def _methods(self) -> dict[str, Method]:
        """Return the methods that the grid asks for."""
        asked = self.results.methods(self.task)
        return {n: method for n, method in methods(RECIPES[self.task]).items() if n in asked}

    def _gated(self) -> dict[str, Method]:
        """Return those whose models have several exits."""
        return {
            name: method
            for name, method in self._methods().items()
            if not Cell(self.task, name, 0).single
        }

    def _unreached(self, name: str, part: str, index: int) -> bool:
        return not all(self.results.values(self.task, name, reached_at(part, index)))

    def _at(self, name: str, index: int) -> str:
        """Return what an exit costs; it is the same for every seed."""
        costs = self.results.values(self.task, name, lambda result: result["costs"][index])
        return f" at {costs[0]:.3f}" if costs else ""

    def _mean(self, name: str, figure: Figure) -> str:
        """Return a mean with its error, or how many seeds there are where one is missing."""
        found = self.results.estimate(self.task, name, figure)
        if found is not None:
            return str(found).removeprefix("+")
        count = len(self.results.values(self.task, name, figure))
        return f"{count} of {len(self.results.seeds(self.task))} seeds" if count else "none"

    def _difference(self, pair: tuple[str, str], figures: tuple[Figure, Figure]) -> str:
        found: Estimate | None = self.results.difference(self.task, pair, figures)
        return "" if found is None else str(found)

    def _samples(self) -> str:
        """Return what the cells were trained and tested on."""
        told = [r["samples"] for r in self.results.found.values() if r["task"] == self.task]
        shown = ", ".join(f"{part} {count:,}" for part, count in told[0].items()) if told else ""
        return f" Samples: {shown}." if told else ""


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), _line(["---"] * len(cells))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

"""The grid: what one cell of the table is, and the tuning run that fills it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from edgeexit.dmpo.config import BypassConfig, ObjectiveConfig, PredictorName, TuneConfig
from tests.benchmarks.methods.recipes import RECIPES, Recipe, Size

Change = Callable[[TuneConfig], TuneConfig]

STATIC = "static"
TRUNCATED = "truncated"
"""Followed by the number of the exit at which the backbone is cut: ``truncated-1``."""

SECOND_ORDER = "-second-order"
"""Behind either name: ``static-second-order``, ``truncated-second-order-1``."""


@dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes:
        title: What the table calls it.
        change: Makes its config from that of DMPO whole.
    """

    title: str
    change: Change


def _plain(config: TuneConfig, objective: str = "joint") -> TuneConfig:
    """Linear predictors on the bare trunk."""
    return dataclasses.replace(
        config,
        exits=dataclasses.replace(config.exits, predictor="linear", last="linear"),
        bypass=BypassConfig(width=0),
        objective=ObjectiveConfig(method=objective),  # type: ignore[arg-type]
    )


def _single(
    config: TuneConfig, exit_number: int = 0, predictor: PredictorName = "linear"
) -> TuneConfig:
    """One head on the backbone, which ends at that exit; 0 for the last one."""
    plain = _plain(config)
    after = (config.exits.after[exit_number - 1],)
    exits = dataclasses.replace(plain.exits, after=after, last=predictor)
    return dataclasses.replace(plain, exits=exits)


def _without_bypass(config: TuneConfig) -> TuneConfig:
    return dataclasses.replace(config, bypass=BypassConfig(width=0))


def _without_second_order(config: TuneConfig) -> TuneConfig:
    return dataclasses.replace(
        config, exits=dataclasses.replace(config.exits, predictor="linear", last="linear")
    )


def _one_phase(config: TuneConfig) -> TuneConfig:
    return dataclasses.replace(config, objective=ObjectiveConfig(method="joint"))


def _whole(config: TuneConfig) -> TuneConfig:
    return config


def methods(recipe: Recipe) -> Mapping[str, Method]:
    """Return the methods of a task by name, in the order of the table."""
    found: dict[str, Method] = {}
    heads: tuple[tuple[str, PredictorName, str], ...] = (
        ("", "linear", ""),
        (SECOND_ORDER, "second-order", ", high-order predictor"),
    )
    for suffix, head, words in heads:
        whole = partial(_single, predictor=head)
        found[f"{STATIC}{suffix}"] = Method(f"static, full depth{words}", whole)
        for number in range(1, recipe.exits):
            after = recipe.config.exits.after[number - 1]
            found[f"{TRUNCATED}{suffix}-{number}"] = Method(
                f"static, cut after block {after}{words}", partial(whole, exit_number=number)
            )
    found |= {
        "joint": Method("plain joint multi-exit", _plain),
        "sweet": Method("SWEET", partial(_plain, objective="sweet")),
        "dmpo-no-bypass": Method("DMPO without bypass", _without_bypass),
        "dmpo-no-second-order": Method("DMPO without high-order predictor", _without_second_order),
        "dmpo-one-phase": Method("DMPO without two phases", _one_phase),
        "dmpo": Method("DMPO whole", _whole),
    }
    return MappingProxyType(found)


def static_name(recipe: Recipe, number: int, suffix: str = "") -> str:
    """Return the name of the static backbone that ends at an exit.

    Args:
        recipe: The task.
        number: Number of the exit, from 1.
        suffix: :data:`SECOND_ORDER`, or nothing for the linear head.
    """
    if number == recipe.exits:
        return f"{STATIC}{suffix}"
    return f"{TRUNCATED}{suffix}-{number}"


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        task: Key of the recipe.
        method: Name of the method.
        seed: Decides subset, initialisation and order.
        size: One of the recipe's sizes.
    """

    task: str
    method: str
    seed: int
    size: str = "table"

    @property
    def name(self) -> str:
        """Identifier, also of its file."""
        return f"{self.task}-{self.method}-{self.seed}"

    @property
    def recipe(self) -> Recipe:
        """The task."""
        return RECIPES[self.task]

    @property
    def rows(self) -> Size:
        """How much data it sees."""
        return self.recipe.sizes[self.size]

    @property
    def single(self) -> bool:
        """Whether the model has one exit and so no gates."""
        return len(self.config.exits.after) == 1

    @property
    def counted(self) -> str:
        """Method on whose graph the FLOPs are counted; one exit alone is counted among several."""
        if not self.single:
            return self.method
        return "joint" if self.config.exits.last == "linear" else "dmpo-no-bypass"

    @property
    def config(self) -> TuneConfig:
        """The tuning run; the same on every machine."""
        return self.variant(self.method)

    def variant(self, method: str) -> TuneConfig:
        """Return the config of another method of the same task, size and seed."""
        config = methods(self.recipe)[method].change(self.recipe.sized(self.size))
        changes = {**self.recipe.tuned.get(method, {}), "seed": self.seed}
        training = dataclasses.replace(config.training, **changes)
        return dataclasses.replace(config, training=training, name=self.name)

    @property
    def digest(self) -> str:
        """Digest of all that is asked for; a result with another one is of another recipe."""
        asked = [dataclasses.asdict(self.config), dataclasses.asdict(self.rows)]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def file(self, folder: Path) -> Path:
        """Return the file of its result."""
        return folder / f"{self.name}.json"

    def done(self, folder: Path) -> bool:
        """Return whether its result is there and of this recipe."""
        file = self.file(folder)
        return file.exists() and json.loads(file.read_text())["digest"] == self.digest


def grid(
    tasks: Iterable[str],
    seeds: Iterable[int],
    wanted: Iterable[str] | None = None,
    size: str = "table",
) -> list[Cell]:
    """Return the cells, seed by seed, so that an early stop leaves whole seeds.

    Args:
        tasks: Names of recipes.
        seeds: Seeds.
        wanted: Names of methods, all if None; ``truncated`` and ``truncated-second-order`` stand
            for all that are cut.
        size: One of the recipes' sizes; tasks without it are left out.
    """
    chosen = None if wanted is None else set(wanted)
    return [
        Cell(task, method, seed, size)
        for seed in seeds
        for task in tasks
        if size in RECIPES[task].sizes
        for method in methods(RECIPES[task])
        if chosen is None or method in chosen or method.rpartition("-")[0] in chosen - {"dmpo"}
    ]

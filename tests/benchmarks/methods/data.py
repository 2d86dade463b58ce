"""The samples of a cell: drawn by its seed, the same for every method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.dmpo.config import TuneConfig
from tests.benchmarks.methods.cells import Cell
from tests.benchmarks.methods.recipes import MINILM_FOLDER
from tests.benchmarks.methods.sources import (
    MINILM,
    Places,
    Samples,
    read_fashion,
    read_news,
    wheel_folder,
)

PARTS = ("train", "validation", "calibration")
"""What a tuning run is given; the names are those of its settings."""


@dataclass(frozen=True)
class Inputs:
    """Samples as the model reads them.

    Attributes:
        arrays: One array an input by name.
        labels: ``(n,) int64``.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def save(self, path: Path, classes: int) -> None:
        """Write the samples as the ``.npz`` that a tuning run reads."""
        names = np.asarray([str(number) for number in range(classes)])
        np.savez(path, **self.arrays, y=self.labels, classes=names)  # type: ignore[arg-type]


def on_this_machine(config: TuneConfig, places: Places) -> TuneConfig:
    """Return a cell's config with the folder of the weights in place of its name."""
    if config.backbone.source != MINILM_FOLDER:
        return config
    folder = places.minilm or wheel_folder(MINILM)
    backbone = dataclasses.replace(config.backbone, source=str(folder))
    return dataclasses.replace(config, backbone=backbone)


def load_data(cell: Cell, config: TuneConfig, places: Places) -> dict[str, Inputs]:
    """Return the samples of a cell: ``train``, ``validation``, ``calibration`` and ``test``.

    The training split is shuffled by the cell's seed; calibration comes first, then validation,
    then what is learned from. The test rows do not depend on the seed.

    Args:
        cell: The cell.
        config: Its config on this machine.
        places: Where the data lie.

    Raises:
        InputError: The data cannot be had.
    """
    size = cell.rows
    whole = _read(cell.recipe.source, "train", places)
    order = np.random.default_rng(cell.seed).permutation(len(whole))
    kept = size.calibration + size.validation
    rows = {
        "calibration": order[: size.calibration],
        "validation": order[size.calibration : kept],
        "train": order[kept : None if size.train is None else kept + size.train],
    }
    test = _read(cell.recipe.source, "test", places)
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[: size.test])
    parts = {name: whole.take(rows[name]) for name in PARTS} | {"test": test.take(chosen)}
    return {name: _prepare(samples, config) for name, samples in parts.items()}


def _read(source: str, part: str, places: Places) -> Samples:
    if source == "news":
        return read_news(part, places.news)
    return read_fashion(part, places.fashion)


def _prepare(samples: Samples, config: TuneConfig) -> Inputs:
    """Return the samples as the backbone takes them."""
    if samples.inputs.dtype != object:
        return Inputs({"image": samples.inputs}, samples.labels)
    from edgeexit.dmpo.data.tokens import tokenize

    texts = [str(text) for text in samples.inputs]
    return Inputs(tokenize(texts, config.backbone, config.data.length), samples.labels)

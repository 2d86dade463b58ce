"""The three tasks: backbone, exits, sizes and hyper-parameters, the same for every method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from edgeexit.dmpo.config import (
    AdapterConfig,
    BackboneConfig,
    BypassConfig,
    DataConfig,
    ExitsConfig,
    ObjectiveConfig,
    SecondOrderConfig,
    TrainingConfig,
    TuneConfig,
)

BUDGETS = (0.3, 0.5, 0.7)
"""Mean cost wanted, as fractions of the static model's FLOPs."""

SEEDS = (0, 1, 2)

MINILM_FOLDER = "MiniLM-L6"
"""Stands for the folder of the weights, which differs from machine to machine."""

DATA = DataConfig(train="train", validation="validation", calibration="calibration", length=64)
"""Each cell puts files of its own samples in place of the three names."""


FROM_SCRATCH = ObjectiveConfig(start=(0.5, 0.7, 1.0, 1.5), end=(1.2, 1.0, 1.0, 1.0))
"""Milder than the paper's weights, whose deep exits end at a quarter: for a trunk from scratch."""


@dataclass(frozen=True)
class Size:
    """How much of the data a cell sees.

    Attributes:
        train: Rows learned from; None for all that are left.
        validation: Rows kept for the validation score.
        calibration: Rows kept for the exits' thresholds.
        test: Rows of the test set; None for all.
        training: Settings of the training that go with this size.
    """

    train: int | None
    validation: int
    calibration: int
    test: int | None
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """One task.

    Attributes:
        title: What the table calls it.
        source: ``news`` or ``fashion``.
        classes: Number of classes.
        config: DMPO whole; other methods are changes of it.
        sizes: ``table``, ``full``, ``quick``, and those that were tried for this task alone.
        tuned: Settings of the training by method, where one needs its own to do its best.
        quick: Settings of a backbone from scratch that is small enough for a test.
    """

    title: str
    source: str
    classes: int
    config: TuneConfig
    sizes: Mapping[str, Size]
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exits(self) -> int:
        """Number of exits."""
        return len(self.config.exits.after)

    def sized(self, size: str) -> TuneConfig:
        """Return DMPO's config at one of the sizes."""
        config = self.config
        training = dataclasses.replace(config.training, **self.sizes[size].training)
        if size == "quick" and self.quick:
            settings = {**config.backbone.settings, **self.quick}
            backbone = dataclasses.replace(config.backbone, settings=settings)
            config = dataclasses.replace(config, backbone=backbone)
        return dataclasses.replace(config, training=training)


_TINY = Size(160, 40, 120, 200, {"epochs": 1, "batch": 16})

NEWS = Recipe(
    "20 Newsgroups, MiniLM-L6",
    "news",
    20,
    TuneConfig(
        data=DATA,
        exits=ExitsConfig(after=(1, 3, 6), last="second-order"),
        backbone=BackboneConfig(family="bert", source=MINILM_FOLDER),
        adapter=AdapterConfig(kind="lora", rank=8),
        training=TrainingConfig(epochs=3, batch=32, lr=1e-3, head_lr=2e-3, threads=1),
    ),
    {
        "table": Size(2000, 200, 1500, 3000),
        "full": Size(None, 300, 1500, None),
        "quick": _TINY,
    },
)

FASHION_VIT = Recipe(
    "Fashion-MNIST, small ViT from scratch",
    "fashion",
    10,
    TuneConfig(
        data=DATA,
        exits=ExitsConfig(after=(2, 4, 6, 8), last="second-order"),
        backbone=BackboneConfig(
            family="small-vit",
            settings={"width": 64, "depth": 8, "heads": 2, "patch": 4, "image_size": 28},
        ),
        adapter=AdapterConfig(kind="full"),
        objective=FROM_SCRATCH,
        training=TrainingConfig(epochs=6, batch=64, lr=2e-3, threads=1),
    ),
    {
        "table": Size(4000, 500, 2000, None),
        "full": Size(None, 1000, 2000, None),
        "quick": _TINY,
    },
)

FASHION_CNN = Recipe(
    "Fashion-MNIST, ResNet from scratch",
    "fashion",
    10,
    TuneConfig(
        data=DATA,
        exits=ExitsConfig(after=(2, 4, 6, 8), last="second-order"),
        backbone=BackboneConfig(
            family="resnet",
            settings={
                "num_channels": 1,
                "embedding_size": 16,
                "hidden_sizes": [32, 64, 128],
                "depths": [2, 3, 3],
                "layer_type": "basic",
                "downsample_in_first_stage": True,
                "stem": "small",
                "image_size": 28,
            },
        ),
        bypass=BypassConfig(width=32),
        second_order=SecondOrderConfig(size=32),
        adapter=AdapterConfig(kind="full"),
        objective=FROM_SCRATCH,
        training=TrainingConfig(epochs=6, batch=64, lr=2e-3, threads=1),
    ),
    {
        "table": Size(4000, 500, 2000, None),
        "longer": Size(4000, 500, 2000, None, {"epochs": 12}),
        "larger": Size(10_000, 500, 2000, None),
        "full": Size(None, 1000, 2000, None),
        "quick": _TINY,
    },
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"news": NEWS, "fashion-vit": FASHION_VIT, "fashion-cnn": FASHION_CNN}
)
"""All tasks by name, in the order of the table."""

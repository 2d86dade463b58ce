"""A tiny vision transformer on images whose bright quarter is the class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from edgeexit.dmpo.build import build_model
from edgeexit.dmpo.config import (
    AdapterConfig,
    BackboneConfig,
    BypassConfig,
    DataConfig,
    ExitsConfig,
    TrainingConfig,
    TuneConfig,
)
from edgeexit.dmpo.data.batches import Batches
from edgeexit.dmpo.data.dataset import LabelledSet
from edgeexit.dmpo.data.normalize import Normalize
from edgeexit.dmpo.objectives.build import build_objective
from edgeexit.dmpo.training.trainer import Trainer
from edgeexit.dmpo.training.workers import Workers

CLASSES = 4
SETTINGS = {"width": 16, "depth": 3, "heads": 2, "patch": 3, "image_size": 12}


def quarters(count):
    """Return ``(count, 1, 12, 12) uint8`` images and their classes."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % CLASSES
    images = random.integers(0, 80, (count, 1, 12, 12))
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, row * 6 : row * 6 + 6, column * 6 : column * 6 + 6] += 120
    return images.astype(np.uint8), labels.astype(np.int64)


def config_of(**training):
    """Return a run of the tiny model; ``training`` changes its table."""
    settings = {"epochs": 2, "batch": 16, "lr": 3e-3, "precision": "f32", "device": "cpu"}
    return TuneConfig(
        data=DataConfig(train="unused"),
        exits=ExitsConfig(after=(1, 3), predictor="linear"),
        backbone=BackboneConfig(family="small-vit", settings=SETTINGS),
        bypass=BypassConfig(width=8),
        adapter=AdapterConfig(kind="full"),
        training=TrainingConfig(**{**settings, **training}),
    )


def with_method(config, method, adapter=None):
    """Return a run with another objective, and another adapter where it is given."""
    changed = replace(config, objective=replace(config.objective, method=method))
    return changed if adapter is None else replace(changed, adapter=AdapterConfig(kind=adapter))


def build(config):
    """Return the model of a run, its weights drawn from the run's seed."""
    torch.manual_seed(config.training.seed)
    model = build_model(config, CLASSES)
    model.preprocess = Normalize((0.5,), (0.5,))
    return model


def trainer_of(config, folder, *, samples=80, validation=32, model=None, **options):
    """Return a trainer of the tiny model in ``folder``."""
    images, labels = quarters(samples + validation)
    name = build(config).backbone.inputs[0].name
    whole = LabelledSet({name: images}, labels)
    training = config.training
    network = model if model is not None else build(config)
    return Trainer(
        network,
        build_objective(config.objective, len(network.exits)),
        training,
        Batches(whole.take(np.arange(samples)), training.batch, training.seed),
        Batches(whole.take(np.arange(samples, samples + validation)), 16, 0, shuffle=False),
        workers=Workers("cpu"),
        folder=folder,
        identity=options.pop("identity", {"run": 1}),
        **options,
    )

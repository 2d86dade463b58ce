"""Tiny multi-exit models of every family, all weights random, and random inputs for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgeexit.bundle.specs import BATCH, TensorSpec
from edgeexit.dmpo.build import build_model
from edgeexit.dmpo.config import AdapterConfig, BackboneConfig, DataConfig, ExitsConfig, TuneConfig
from edgeexit.dmpo.data.dataset import LabelledSet, TuneData
from edgeexit.dmpo.data.normalize import Normalize

LENGTH = 16
CLASSES = ("red", "green", "blue", "black", "white")
PREDICTORS = ("second-order", "local", "global", "linear")

LAST = ("head", "first_order", "classifier")
"""Names of the layers whose bias is added to the logits."""

SETTINGS = {
    "bert": {
        "vocab_size": 50,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    },
    "vit": {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "image_size": [36, 32],
        "patch_size": 4,
    },
    "resnet": {
        "embedding_size": 8,
        "hidden_sizes": [16, 32],
        "depths": [2, 2],
        "image_size": 20,
        "stem": "small",
    },
    "small-vit": {"width": 32, "depth": 4, "heads": 2, "patch": 3, "image_size": 24, "channels": 3},
}


def config(family: str, **tables) -> TuneConfig:
    """Return a run with one exit of every predictor, one after each of four blocks."""
    exits = ExitsConfig((1, 2, 3, 4), predictor=PREDICTORS)
    backbone = BackboneConfig(family, settings=SETTINGS[family])
    tables = {"adapter": AdapterConfig("lora"), **tables}
    return TuneConfig(DataConfig("unused", length=LENGTH), exits, backbone, **tables, name=family)


def model(family: str):
    """Return a model whose adapters, scales, biases and statistics are far from their start."""
    torch.manual_seed(0)
    tiny = build_model(config(family), len(CLASSES))
    if family != "bert":
        tiny.preprocess = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    for name, value in tiny.named_parameters():
        if "lora_" in name:
            nn.init.normal_(value, std=0.1)
        elif "beta" in name or "normalization" in name:
            nn.init.uniform_(value, 0.5, 1.5)
    tiny.eval()
    _take_statistics(tiny, inputs(family, 50, seed=2))
    _centre(tiny, inputs(family, 200, seed=1))
    return tiny


def _take_statistics(model, arrays: dict[str, np.ndarray]) -> None:
    """Give every batch norm the statistics of its inputs, as pretraining does."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum, norm.training = 1.0, True
    with torch.no_grad():
        model(*map(torch.from_numpy, arrays.values()))
    for norm in norms:
        norm.training = False


def _centre(model, arrays: dict[str, np.ndarray]) -> None:
    """Move the biases so that no class is the top one of most samples."""
    with torch.no_grad():
        logits = model(*map(torch.from_numpy, arrays.values()))
        for each, scores in zip(model.exits, logits, strict=True):
            predictor = each.predictor
            share = getattr(predictor, "share", 1.0)
            layer = next(getattr(predictor, name) for name in LAST if hasattr(predictor, name))
            layer.bias.sub_(scores.mean(0) / (each.beta * share))


def inputs(family: str, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random tokens with padding, or random pixels, by the names of the model's inputs."""
    random = np.random.default_rng(seed)
    if family == "bert":
        lengths = random.integers(1, LENGTH + 1, (count, 1))
        mask = (np.arange(LENGTH)[None] < lengths).astype(np.int64)
        return {"input_ids": random.integers(0, 50, (count, LENGTH)), "attention_mask": mask}
    size = SETTINGS[family]["image_size"]
    height, width = size if isinstance(size, list) else (size, size)
    # Coarse patches of colour: fine noise looks the same to an untrained trunk.
    coarse = random.integers(0, 256, (count, 3, 2, 2)).astype(np.uint8)
    return {"image": coarse.repeat(height // 2, axis=2).repeat(width // 2, axis=3)}


def labelled(family: str, count: int, seed: int = 0) -> LabelledSet:
    """Return random samples with random classes."""
    labels = np.random.default_rng(seed).integers(0, len(CLASSES), count)
    return LabelledSet(inputs(family, count, seed), labels)


def data(family: str, *, calibration: int = 60, validation: int = 40) -> TuneData:
    """Return random data in three parts."""
    parts = [labelled(family, n, seed) for seed, n in enumerate((20, validation, calibration))]
    specs = tuple(
        TensorSpec(name, array.dtype.name, (BATCH, *array.shape[1:]))
        for name, array in parts[0].inputs.items()
    )
    return TuneData(*parts, CLASSES, specs)

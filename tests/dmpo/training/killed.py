"""A training in a process of its own, to be killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from edgeexit.dmpo.training.checkpoint import trained_weights
from tests.dmpo.training.tiny import build, config_of, trainer_of

STEPS = 80


def train(folder: str, result: str) -> None:
    """Train, resuming what is in ``folder``, and write the final weights to ``result``."""
    torch.set_num_threads(1)
    config = config_of(epochs=8, batch=8, checkpoint_minutes=0.0)
    config = replace(config, adapter=replace(config.adapter, kind="lora", rank=2, dropout=0.3))
    model = build(config)
    trainer_of(config, Path(folder), model=model).fit()
    save_file(trained_weights(model), result)

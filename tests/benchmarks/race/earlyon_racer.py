"""earlyon 0.3.0 (MIT licence, github.com/sohams25/earlyon) as its documentation has it used."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import numpy as np
import torch

from tests.benchmarks.race.racer import Answers, Images, Racer
from tests.benchmarks.race.torch_form import TorchForm

VERSION = "0.3.0"
INSTALL = f"pip install --no-deps earlyon=={VERSION}"

_FINAL = -1
"""The exit it names where none was taken early."""


def missing_earlyon() -> str:
    """Return why earlyon cannot take part, or nothing where it can."""
    if importlib.util.find_spec("earlyon") is None:
        return f"NOT RUN: earlyon is not installed; {INSTALL}"
    found = importlib.metadata.version("earlyon")
    return "" if found == VERSION else f"NOT RUN: earlyon is {found}; {INSTALL}"


def earlyon_racers(form: TorchForm, thresholds: tuple[float, ...], batch: int) -> list[Racer]:
    """Return its wrapper and, for single samples, its staged model of the same wrapper.

    ``EarlyExitWrapper`` is what ``custom_ee`` makes of any backbone; ours brings heads that are
    already trained, and so is built from its parts.
    """
    wrapper = wrapped(form, thresholds)
    exits = len(thresholds) + 1
    if batch > 1:
        call = wrapper.forward_inference_batched
        return [Racer("earlyon", call, lambda r: _many(r, exits), _tensor)]
    from earlyon.staged import staged_model

    staged = staged_model(wrapper)
    return [
        Racer("earlyon", wrapper, lambda r: _one(r, exits), _tensor),
        Racer("staged", staged.infer, lambda r: _one(r, exits), _tensor),
    ]


def wrapped(form: TorchForm, thresholds: tuple[float, ...]) -> Any:
    """Return the model in earlyon's wrapper, ready for inference."""
    from earlyon import EarlyExitConfig, EarlyExitWrapper, ExitPoint

    names = [f"exit_{number}" for number in range(1, len(form.layers) + 1)]
    config = EarlyExitConfig(
        "custom",
        form.classes,
        # The width is for heads that it makes itself.
        [ExitPoint(name, layer, 1) for name, layer in zip(names, form.layers, strict=True)],
        confidence_thresholds=list(thresholds),
    )
    heads = dict(zip(names, form.heads, strict=True))
    wrapper = EarlyExitWrapper(
        form.trunk, heads, lambda logits: logits, config, input_shape=form.shape
    )
    return wrapper.eval()


def _tensor(images: Images) -> torch.Tensor:
    return torch.from_numpy(images)


def _one(result: Any, exits: int) -> Answers:
    return _answers(result.prediction, result.exit_taken, exits)


def _many(result: Any, exits: int) -> Answers:
    return _answers(result.predictions, result.exit_taken, exits)


def _answers(logits: torch.Tensor, taken: int, exits: int) -> Answers:
    number = exits if taken == _FINAL else taken + 1
    return Answers(logits.argmax(dim=-1).numpy(), np.full(len(logits), number))

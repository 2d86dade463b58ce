"""The ViT-S/16 of the benchmarks: a model of a useful size, with random weights and images.

Its accuracy means nothing, so what counts as right is what the whole model says in PyTorch.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tests.benchmarks.models import VIT, open_bundle
from tests.benchmarks.networks import EXITS, PATCHES, VIT_BLOCKS, VitSmall
from tests.benchmarks.race.course import PRECISIONS, Course, make_course
from tests.benchmarks.race.torch_form import TorchForm
from tests.benchmarks.rows import Effort

CALIBRATED_ON, TESTED_ON = 256, 64
ROUNDS = 12
"""A round takes seconds, most of them PyTorch's."""

_EVERY = VIT_BLOCKS // EXITS


class Start(nn.Module):
    """From images to the tokens that the first block reads."""

    def __init__(self, model: VitSmall) -> None:
        super().__init__()
        self.patch, self.position = model.patch, model.position

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(B, T, d)`` of ``(B, 3, 224, 224)``."""
        tokens = self.patch(image).flatten(2).transpose(1, 2)
        placed: Tensor = nn.functional.pad(tokens, (0, 0, 1, 0)) + self.position
        assert placed.shape[1] == PATCHES + 1
        return placed


def vit_course(effort: Effort) -> Course:
    """Return the race of the ViT-S/16; each precision at thresholds of its own."""
    bundles = {name: open_bundle(VIT, name, effort.tell) for name in PRECISIONS}
    form = in_torch()
    sets = (_images(form, CALIBRATED_ON, 1), _images(form, TESTED_ON, 2))
    effort.tell("race: calibrating the ViT-S/16")
    course = make_course(
        VIT.name, VIT.title, form, bundles, *sets, shared=False, rounds=effort.least(ROUNDS)
    )
    return replace(course, trained=False)


def in_torch() -> TorchForm:
    """Return the network whose weights the bundles were exported with, as its blocks."""
    torch.manual_seed(0)
    model = VitSmall().eval().requires_grad_(requires_grad=False)
    parts: list[tuple[str, nn.Module]] = [("start", Start(model))]
    parts += [(f"block_{number}", block) for number, block in enumerate(model.blocks, start=1)]
    parts.append(("head", model.exits[-1]))
    layers = tuple(f"block_{number * _EVERY}" for number in range(1, EXITS))
    trunk = nn.Sequential(OrderedDict(parts))
    return TorchForm(trunk, layers, tuple(model.exits)[:-1], (1, *VIT.shape), "float32")


def _images(form: TorchForm, count: int, seed: int) -> dict[str, npt.NDArray[np.generic]]:
    """Return random images and what the whole model says of them."""
    images = VIT.random_inputs(count, seed)
    parts = [form.all_logits(images[row : row + 8])[-1] for row in range(0, count, 8)]
    return {"image": images, "y": np.concatenate(parts).argmax(axis=1)}

"""A CNN that is really trained, on Fashion-MNIST at 64 px: ``python -m tests.benchmarks.race.cnn``.

Weights are kept; its bundles are compiled anew for every race.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeexit.bundle.bundle import Bundle
from edgeexit.dmpo.data.normalize import Normalize
from tests.benchmarks import networks
from tests.benchmarks.folders import ROOT, cache_folder
from tests.benchmarks.methods.sources import read_fashion
from tests.benchmarks.race.course import PRECISIONS, ROUNDS, Course, make_course
from tests.benchmarks.race.torch_form import TorchForm, export_exits
from tests.benchmarks.rows import Effort

TITLE = "CNN (64 px)"
CLASSES, SIDE, GRID, BATCH = 10, 64, 4, 64
BUDGET = 0.7
"""At half the FLOPs its exits lose points, which batches that leave late as a whole would not."""

EPOCHS, LEARNING_RATE = 2, 1e-3
TRAINED_ON, CALIBRATED_ON, TESTED_ON = 12_000, 3_000, 2_048
"""Images; calibration takes the last ones of the training split, which training never sees."""

QUICK_TRAINED_ON, QUICK_TESTED_ON = 640, 128
_MEAN, _DEVIATION = 0.286, 0.353


class Start(nn.Module):
    """Scaling and stem.

    Args:
        stem: The first convolution.
    """

    def __init__(self, stem: nn.Module) -> None:
        super().__init__()
        self.scaling, self.stem = Normalize([_MEAN] * 3, [_DEVIATION] * 3), stem

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps that the first stage reads."""
        maps: Tensor = self.stem(self.scaling(image)).relu()
        return maps


class Head(nn.Sequential):
    """Means of a grid over the maps, then one linear layer: ``(B, 10)`` of ``(B, C, S, S)``.

    Args:
        width: Channels C.
        side: Their side S.
    """

    def __init__(self, width: int, side: int) -> None:
        pool = nn.AvgPool2d(side // GRID)
        super().__init__(pool, nn.Flatten(), nn.Linear(width * GRID**2, CLASSES))


class RaceCnn(nn.Module):
    """The trunk of the benchmarks' small CNN, with exits that can tell ten classes early.

    Args:
        seed: Of its random weights.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        body = networks.SmallCnn()
        self.start = Start(body.stem)
        self.stages = body.stages
        sides = [SIDE >> number for number in range(1, networks.EXITS + 1)]
        self.heads = nn.ModuleList(
            Head(width, side) for width, side in zip(networks.CNN_WIDTHS, sides, strict=True)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return four ``(B, 10)`` of ``(B, 3, 64, 64) uint8``."""
        maps, logits = self.start(image), []
        for stage, head in zip(self.stages, self.heads, strict=True):
            maps = stage(maps)
            logits.append(head(maps))
        return tuple(logits)


def cnn_course(effort: Effort) -> Course:
    """Return the race of the CNN, trained and compiled by another process."""
    command = [sys.executable, "-m", "tests.benchmarks.race.cnn", *["--quick"] * effort.quick]
    effort.tell("race: training (once) and compiling the CNN")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    model = RaceCnn()
    model.load_state_dict(torch.load(_weights(effort.quick), weights_only=True))
    bundles = {name: Bundle.open(_bundle(name)) for name in PRECISIONS}
    count = QUICK_TESTED_ON if effort.quick else TESTED_ON
    test = _images("test", slice(count))
    form, rounds = in_torch(model), effort.least(ROUNDS)
    return make_course("cnn", TITLE, form, bundles, _calibration(), test, BUDGET, rounds=rounds)


def in_torch(model: RaceCnn) -> TorchForm:
    """Return the CNN as a sequence of its stages, with its exits beside it."""
    model.eval().requires_grad_(requires_grad=False)
    parts: list[tuple[str, nn.Module]] = [("start", model.start)]
    parts += [(f"stage_{number}", stage) for number, stage in enumerate(model.stages, start=1)]
    parts.append(("head", model.heads[-1]))
    layers = tuple(f"stage_{number}" for number in range(1, networks.EXITS))
    trunk = nn.Sequential(OrderedDict(parts))
    return TorchForm(trunk, layers, tuple(model.heads)[:-1], (1, 3, SIDE, SIDE))


def train(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], epochs: int) -> RaceCnn:
    """Train all exits together, each with the same weight."""
    model = RaceCnn()
    steps = epochs * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    order = np.random.default_rng(0)
    for _ in range(epochs):
        mixed = order.permutation(len(images))[: len(images) // BATCH * BATCH]
        for rows in mixed.reshape(-1, BATCH):
            wanted = torch.from_numpy(labels[rows])
            answers = model(torch.from_numpy(images[rows]))
            loss = torch.stack([nn.functional.cross_entropy(a, wanted) for a in answers]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


def build(*, quick: bool) -> None:
    """Train the CNN where it is not kept, and compile it."""
    from edgeexit.compiler import compile_model

    weights = _weights(quick)
    if not weights.exists():
        data = _images("train", slice(QUICK_TRAINED_ON if quick else TRAINED_ON))
        model = train(data["image"], data["y"], 1 if quick else EPOCHS)
        torch.save(model.state_dict(), weights)
    model = RaceCnn()
    model.load_state_dict(torch.load(weights, weights_only=True))
    source, calibration = cache_folder() / "race-cnn.onnx", _calibration()
    export_exits(model, (1, 3, SIDE, SIDE), networks.EXITS, source)
    for precision in PRECISIONS:
        quant_data = calibration if precision == "int8" else None
        compile_model(
            source, _bundle(precision), target="x86", precision=precision,
            quant_data=quant_data, name="race-cnn",
        )  # fmt: skip


def _images(part: str, rows: slice) -> dict[str, npt.NDArray[Any]]:
    """Return images of 28 px as 64 px in three channels: a border of 2, every pixel doubled."""
    samples = read_fashion(part)
    small = np.asarray(samples.inputs[rows])
    wide = np.pad(small, ((0, 0), (0, 0), (2, 2), (2, 2)))
    large = wide.repeat(2, axis=2).repeat(2, axis=3).repeat(3, axis=1)
    return {"image": large, "y": samples.labels[rows]}


def _calibration() -> dict[str, npt.NDArray[Any]]:
    return _images("train", slice(-CALIBRATED_ON, None))


def _weights(quick: bool) -> Path:
    """Return where weights are kept that this code trained."""
    code = Path(__file__).read_bytes() + Path(networks.__file__).read_bytes()
    kind = "quick" if quick else "full"
    return cache_folder() / f"race-cnn-{kind}-{hashlib.sha256(code).hexdigest()[:12]}.pt"


def _bundle(precision: str) -> Path:
    return cache_folder() / f"race-cnn-{precision}.eex"


if __name__ == "__main__":
    build(quick="--quick" in sys.argv)

"""What is raced on: a model in every form, its thresholds, its images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import ExitFamily
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.calibrate.policies.confidence import FEATURE
from tests.benchmarks.calibrated import BUDGET, demo_data
from tests.benchmarks.folders import cache_folder
from tests.benchmarks.models import DEMO, open_bundle
from tests.benchmarks.race.racer import Images, Numbers
from tests.benchmarks.race.torch_form import TorchForm
from tests.benchmarks.rows import Effort

PRECISIONS = ("f32", "int8")
CALIBRATED_ON = ("x86", "f32")
"""Device and precision whose thresholds the others take over."""

ROUNDS = 60

_LOG_ODDS_SCALE = 3.0
"""The gate's feature is a third of the log-odds (see its docstring)."""


@dataclass(frozen=True)
class Course:
    """One model's race.

    Attributes:
        name: Short name.
        title: What the table calls the model.
        form: The model in torch.
        bundles: The model compiled, by precision.
        exits_files: The one calibration, for each bundle.
        budget: The mean FLOPs it was calibrated at.
        thresholds: The same thresholds as K - 1 softmax probabilities.
        images: ``(n, ...)`` test images, n a multiple of the largest batch.
        labels: ``(n,)`` their classes.
        rounds: Rounds of a race.
        trained: Whether the weights are, so that accuracy means something.
    """

    name: str
    title: str
    form: TorchForm
    bundles: Mapping[str, Bundle]
    exits_files: Mapping[str, Path]
    budget: float
    thresholds: tuple[float, ...]
    images: Images
    labels: Numbers
    rounds: int
    trained: bool = True


def demo_course(effort: Effort, precisions: tuple[str, ...] = PRECISIONS) -> Course:
    """Return the race of the demo model."""
    from tests.benchmarks.race.torch_demo import demo_in_torch

    bundles = {name: open_bundle(DEMO, name, effort.tell) for name in precisions}
    test = demo_data(demo.evaluation_path(), effort)
    calibration = demo_data(demo.calibration_path(), effort)
    form, rounds = demo_in_torch(), effort.least(ROUNDS)
    return make_course("demo", DEMO.title, form, bundles, calibration, test, rounds=rounds)


def make_course(
    name: str,
    title: str,
    form: TorchForm,
    bundles: Mapping[str, Bundle],
    calibration: Mapping[str, npt.NDArray[Any]],
    test: Mapping[str, npt.NDArray[Any]],
    budget: float = BUDGET,
    *,
    shared: bool = True,
    rounds: int = ROUNDS,
) -> Course:
    """Calibrate and return the race.

    Args:
        name: Short name.
        title: What the table calls the model.
        form: The model in torch.
        bundles: The model compiled, by precision; ``f32`` among them.
        calibration: ``image`` and ``y``.
        test: The same of the test images.
        budget: Mean FLOPs to calibrate at.
        shared: Whether int8 is raced at the thresholds of f32, as the others are.
        rounds: Rounds of a race.
    """
    device, precision = CALIBRATED_ON
    files = {each: cache_folder() / f"race-{name}-{each}.json" for each in bundles}
    found = {
        each: calibrate_exits(
            bundles[each], dict(calibration), budget,
            policy="single", target=device, output=files[each],
        ).family
        for each in ([precision] if shared else bundles)
    }  # fmt: skip
    for each, bundle in bundles.items():
        family = found.get(each, found[precision])
        bundle.write_exits(dataclasses.replace(family, manifest_digest=bundle.digest), files[each])
    images, labels = np.ascontiguousarray(test["image"]), test["y"]
    limits = as_probabilities(found[precision], bundles[precision], budget)
    return Course(name, title, form, bundles, files, budget, limits, images, labels, rounds)


def as_probabilities(family: ExitFamily, bundle: Bundle, budget: float) -> tuple[float, ...]:
    """Return the thresholds on log-odds as thresholds on the largest softmax probability.

    Raises:
        ValueError: The gates weigh more than the log-odds of plain logits.
    """
    settings = family.settings(Budget(budget))
    gates = [stage.gate for stage in bundle.manifest.stages if stage.gate is not None]
    for gate, params in zip(gates, settings.params, strict=True):
        wanted = [1.0] + [float(feature == FEATURE) for feature in gate.features]
        if params.tolist() != wanted:
            raise ValueError(f"gate parameters are {params.tolist()}, {wanted} was expected")
    return tuple(1 / (1 + math.exp(-_LOG_ODDS_SCALE * float(t))) for t in settings.thresholds)

"""Ranges of the settings of a tuning run, and what they must agree on."""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.dmpo.config import TuneConfig
from edgeexit.dmpo.config_values import setting_error, spelled
from edgeexit.dmpo.training.log import check_kinds

_LARGEST_SEED = 2**32 - 1
_MOST_THREADS = 4096


@dataclass(frozen=True)
class _Range:
    """Numbers that a setting may take.

    Attributes:
        low: The smallest.
        high: The largest.
        open_low: Whether ``low`` itself is too small.
        open_high: Whether ``high`` itself is too large.
    """

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.open_low else f"{self.low:g} or more"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.open_high else 'at most'} {self.high:.10g}"


_COUNT, _POSITIVE, _ANY = _Range(1), _Range(0, open_low=True), _Range(0)
_SHARE = _Range(0, 1)
_RANGES: dict[str, _Range] = {
    "data.validation": _Range(0, 1, open_high=True),
    "data.calibration": _Range(0, 1, open_high=True),
    "data.length": _COUNT,
    "data.size": _COUNT,
    "data.std": _POSITIVE,
    "exits.after": _COUNT,
    "bypass.width": _ANY,
    "bypass.depth": _COUNT,
    "second_order.size": _COUNT,
    "second_order.heads": _Range(2),
    "adapter.rank": _COUNT,
    "adapter.alpha": _POSITIVE,
    "adapter.dropout": _Range(0, 1, open_high=True),
    "objective.start": _ANY,
    "objective.end": _ANY,
    "objective.boundary": _SHARE,
    "objective.milestones": _SHARE,
    "objective.temperature": _POSITIVE,
    "objective.distill_weight": _SHARE,
    "training.epochs": _COUNT,
    "training.batch": _COUNT,
    "training.accumulate": _COUNT,
    "training.lr": _POSITIVE,
    "training.head_lr": _POSITIVE,
    "training.weight_decay": _ANY,
    "training.warm_up": _SHARE,
    "training.clip": _ANY,
    "training.label_smoothing": _Range(0, 1, open_high=True),
    "training.patience": _ANY,
    "training.seed": _Range(0, _LARGEST_SEED),
    "training.threads": _Range(1, _MOST_THREADS),
    "training.checkpoint_minutes": _POSITIVE,
}
"""Numbers by setting; for a list they count for each of its items."""


def check_config(config: TuneConfig) -> None:
    """Check what the types of the settings do not say.

    Whether exits lie within the backbone is for
    :func:`edgeexit.dmpo.build.build_model`, which has one.

    Args:
        config: The tuning run.

    Raises:
        InputError: A number is out of range, a list is empty, has another length than there are
            exits or does not ascend, or two settings contradict each other.
    """
    for setting, wanted in _RANGES.items():
        table, _, name = setting.partition(".")
        _check_range(setting, getattr(getattr(config, table), name), wanted)
    for check in _CHECKS:
        check(config)


def _check_range(setting: str, value: Any, wanted: _Range) -> None:
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, int | float) and not wanted.holds(number):
            raise setting_error(
                f"{spelled(setting)} is {_shown(value)}; it must be {wanted}.",
                f"change {spelled(setting)}.",
                "range",
            )


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else f"{value:.10g}"


def _check_exits(config: TuneConfig) -> None:
    after = config.exits.after
    if not after or any(low >= high for low, high in itertools.pairwise(after)):
        raise setting_error(
            f"exits.after is {list(after)}; at least one number of a block was expected, each "
            "greater than the one before.",
            "for example after = [2, 4, 6] for exits behind the second, fourth and sixth block.",
            "exits",
        )
    predictor = config.exits.predictor
    if not isinstance(predictor, str) and len(predictor) != len(after):
        raise setting_error(
            f"exits.predictor lists {len(predictor)} predictors for {len(after)} exits.",
            "give one name for all early exits, or one an exit.",
            "predictors",
        )


def _check_weights(config: TuneConfig) -> None:
    count = len(config.exits.after)
    for name in ("start", "end"):
        weights = getattr(config.objective, name)
        if weights is not None and len(weights) != count:
            raise setting_error(
                f"objective.{name} has {len(weights)} weights for {count} exits.",
                "give one weight an exit, or leave it out for the paper's.",
                "weights",
            )
    milestones = config.objective.milestones
    if not milestones or any(low >= high for low, high in itertools.pairwise(milestones)):
        raise setting_error(
            f"objective.milestones is {list(milestones)}; ascending shares of the training were "
            "expected.",
            "for example milestones = [0.25, 0.5, 0.75].",
            "milestones",
        )


def _check_shares(config: TuneConfig) -> None:
    shares = [
        s for s in (config.data.validation, config.data.calibration) if not isinstance(s, str)
    ]
    if sum(shares) >= 1:
        raise setting_error(
            f"data.validation and data.calibration take {sum(shares):g} of the training data; "
            "something must be left.",
            "give shares such as 0.1 and 0.1.",
            "shares",
        )
    if config.training.patience and config.data.validation == 0:
        raise setting_error(
            f"training.patience is {config.training.patience}, and there is no validation data "
            "to go by.",
            "give data.validation a share above 0, or set training.patience = 0.",
            "patience",
        )


def _check_images(config: TuneConfig) -> None:
    data = config.data
    if data.flip and not data.augment:
        raise setting_error(
            "data.flip is true and data.augment false; images are mirrored as part of it.",
            "set data.augment = true, or leave data.flip out.",
            "flip",
        )
    if data.mean is not None and data.std is not None and len(data.mean) != len(data.std):
        raise setting_error(
            f"data.mean has {len(data.mean)} numbers and data.std {len(data.std)}.",
            "give one a channel in both.",
            "channels",
        )


def _check_paths(config: TuneConfig) -> None:
    data = config.data
    paths = {
        "data.train": data.train,
        "data.validation": data.validation,
        "data.calibration": data.calibration,
        "backbone.source": config.backbone.source,
    }
    for name, value in paths.items():
        if isinstance(value, str) and _too_long(value):
            raise setting_error(
                f"{name} is {value[:60]!r}...; a path of {len(value)} characters is too long here.",
                "give the path of a file or folder.",
                "path",
            )


def _too_long(path: str) -> bool:
    """Whether the file system refuses even to look: elsewhere that would be an error of its own."""
    try:
        Path(path).stat()
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _check_names(config: TuneConfig) -> None:
    check_kinds(config.training.log)
    if config.backbone.family is None and config.backbone.source is None:
        raise setting_error(
            "backbone.family and backbone.source are both missing; one names the trunk.",
            "give backbone.source, a folder with a transformers model or a hub name, or "
            'backbone.family, for example "small-vit", to train from scratch.',
            "backbone",
        )
    if not config.name.strip() or not config.name.isprintable():
        raise setting_error(
            f"name is {config.name!r}; printable text was expected.",
            'for example name = "news".',
            "name",
        )


_CHECKS: tuple[Callable[[TuneConfig], None], ...] = (
    _check_exits,
    _check_weights,
    _check_shares,
    _check_images,
    _check_paths,
    _check_names,
)

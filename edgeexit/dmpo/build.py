"""From a config to a multi-exit model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from edgeexit.dmpo.bypass import Bypass
from edgeexit.dmpo.config import (
    AdapterKind,
    BypassConfig,
    ExitsConfig,
    PredictorName,
    TuneConfig,
)
from edgeexit.dmpo.exit import Exit
from edgeexit.dmpo.families.base import Backbone
from edgeexit.dmpo.families.registry import load_backbone
from edgeexit.dmpo.lora import add_lora
from edgeexit.dmpo.model import MultiExitModel
from edgeexit.dmpo.predictors.base import Predictor
from edgeexit.dmpo.predictors.global_ import GlobalPredictor
from edgeexit.dmpo.predictors.linear import LinearPredictor
from edgeexit.dmpo.predictors.local import LocalPredictor
from edgeexit.dmpo.predictors.second_order import SecondOrderPredictor
from edgeexit.errors import InputError

MOST_BYPASS_MACS = 2**25
NARROWEST_BYPASS = 16
"""Bounds of a bypass's default size: multiply-adds a sample, and width."""


def build_model(
    config: TuneConfig,
    classes: int,
    preprocess: nn.Module | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> MultiExitModel:
    """Load the backbone, cut it after the last exit, add exits and adapters.

    Only what is tuned requires gradients in the result.

    Args:
        config: The tuning run; torch's random state decides all random weights.
        classes: Number of classes.
        preprocess: Applied to the first input, e.g. the scaling of uint8 pixels.
        size: Height and width of the images; None for the backbone's own.

    Raises:
        InputError: Exits lie beyond the backbone's depth, or a setting does not fit it.
        ModelError: The backbone cannot be loaded.
    """
    backbone = load_backbone(config.backbone, length=config.data.length, size=size)
    check_exits(config.exits, backbone.depth)
    after = config.exits.after
    backbone.truncate(after[-1])
    exits = [
        _build_exit(config, backbone, number, name, classes, last=number == after[-1])
        for number, name in zip(after, predictor_names(config.exits), strict=True)
    ]
    kind = adapter_kind(config)
    if kind != "full":
        backbone.requires_grad_(requires_grad=False)
    if kind == "lora":
        add_lora(backbone, config.adapter)
    return MultiExitModel(backbone, exits, after, preprocess)


def adapter_kind(config: TuneConfig) -> AdapterKind:
    """Return what of the backbone is tuned: ``lora``, ``full`` or ``none``."""
    if config.objective.method == "frozen":
        return "none"
    if config.adapter.kind != "auto":
        return config.adapter.kind
    return "full" if config.backbone.source is None else "lora"


def check_exits(exits: ExitsConfig, depth: int) -> None:
    """Check that exits lie inside the backbone.

    Raises:
        InputError: There is none, one lies beyond the last block, or they do not ascend.
    """
    after = exits.after
    ascending = all(low < high for low, high in pairwise(after))
    if not after or not ascending or after[0] < 1 or after[-1] > depth:
        raise InputError(
            f"exits.after is {list(after)}; the backbone has the blocks 1 to {depth}, and exits "
            "follow some of them in ascending order.",
            hint=f"for example after = {_thirds(depth)}.",
            code="tune.exits",
        )


def _thirds(depth: int) -> list[int]:
    return sorted({max(1, depth // 3), max(1, depth * 2 // 3), depth})


def predictor_names(exits: ExitsConfig) -> Sequence[PredictorName]:
    """Return the name of every exit's predictor.

    Raises:
        InputError: A list of names does not have one an exit.
    """
    count = len(exits.after)
    if isinstance(exits.predictor, str):
        return [*[exits.predictor] * (count - 1), exits.last]
    if len(exits.predictor) != count:
        raise InputError(
            f"exits.predictor lists {len(exits.predictor)} predictors for {count} exits.",
            hint="give one name for all early exits, or one an exit.",
            code="tune.predictors",
        )
    return exits.predictor


def _build_exit(
    config: TuneConfig,
    backbone: Backbone,
    number: int,
    name: PredictorName,
    classes: int,
    *,
    last: bool,
) -> Exit:
    width = backbone.width(number)
    bypass, branch = _build_bypass(config.bypass, width, backbone.tokens(number), last=last)
    predictor = _build_predictor(config, backbone, number, name, branch, classes)
    norm = _build_norm(config.exits, backbone, number)
    return Exit(predictor, norm=norm, bypass=bypass, beta=config.exits.beta)


def _build_bypass(
    config: BypassConfig, width: int, tokens: int, *, last: bool
) -> tuple[Bypass | None, int]:
    """Return the bypass of an exit and the width of the features behind it."""
    if config.width == 0 or (last and not config.last):
        return None, width
    bottleneck = config.width or bypass_width(width, tokens)
    return Bypass(width, bottleneck, config.depth), bottleneck


def bypass_width(width: int, tokens: int) -> int:
    """Return the default width of a bypass: half the trunk's, less where tokens are many.

    Half of a ResNet's 256 channels over 56 x 56 positions would cost as much as a block of it.
    """
    return max(1, min(width // 2, max(NARROWEST_BYPASS, MOST_BYPASS_MACS // (width * tokens))))


def _build_norm(config: ExitsConfig, backbone: Backbone, number: int) -> nn.Module | None:
    if config.norm == "none":
        return None
    pretrained = backbone.final_norm(number)
    norm = pretrained if pretrained is not None else nn.LayerNorm(backbone.width(number))
    return norm.requires_grad_(requires_grad=config.norm == "trained")


def _build_predictor(
    config: TuneConfig,
    backbone: Backbone,
    number: int,
    name: PredictorName,
    width: int,
    classes: int,
) -> Predictor:
    if name == "linear":
        return LinearPredictor(width, classes)
    tokens = backbone.tokens(number)
    if name == "second-order":
        sizes = config.second_order
        return SecondOrderPredictor(
            width,
            classes,
            tokens=tokens,
            size=sizes.size,
            heads=sizes.heads,
            reduce=sizes.reduce,
        )
    image = backbone.modality == "image"
    if name == "local":
        return LocalPredictor(width, classes, image=image)
    return GlobalPredictor(width, classes, tokens=tokens, image=image)

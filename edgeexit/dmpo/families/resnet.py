"""ResNet, with basic or bottleneck layers; a block is one residual layer, inside a stage or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, ResNetConfig, ResNetModel
from transformers.models.resnet.modeling_resnet import ResNetConvLayer

from edgeexit.dmpo.families.base import Backbone, Family, Features, Hidden, InputShape
from edgeexit.dmpo.families.loading import (
    bad_setting,
    fresh_config,
    fresh_model,
    image_size,
    load_model,
)

if TYPE_CHECKING:
    from typing_extensions import Self

SETTINGS = (
    *("num_channels", "embedding_size", "hidden_sizes", "depths", "layer_type", "hidden_act"),
    *("downsample_in_first_stage", "downsample_in_bottleneck"),
)
STEM_STRIDES = {"large": 4, "small": 1}
"""What a stem divides height and width by; large: a convolution and a pool of stride 2."""

USUAL_SIZE = 224
"""Height and width of the images that the published weights were trained on."""


class ResNetBackbone(Backbone):
    """The stem and the residual layers of a ResNet; exits see one token a position of the maps.

    A BatchNorm whose weights are frozen keeps its pretrained statistics while training.

    Args:
        model: A ``ResNetModel``; its modules are taken over.
        stem_stride: What its stem divides height and width by.
        size: Height and width of an image.
    """

    modality = "image"
    lora_targets = ("convolution",)

    def __init__(self, model: PreTrainedModel, stem_stride: int, size: tuple[int, int]) -> None:
        super().__init__()
        stages = cast(nn.ModuleList, cast(nn.Module, model.encoder).stages)
        layers = [layer for stage in stages for layer in cast(nn.Sequential, stage.layers)]
        self.stem = cast(nn.Module, model.embedder)
        self.layers = nn.ModuleList(layers)
        self.depth = len(layers)
        self._widths = tuple(_convolutions(layer)[-1].out_channels for layer in layers)
        self._strides = (stem_stride, *(_stride(layer) for layer in layers))
        self._channels: int = model.config.num_channels
        self.resize(*size)

    def resize(self, height: int, width: int) -> None:
        """Take images of another size: convolutions fit every one."""
        self.inputs = (InputShape("image", (self._channels, height, width), "float32"),)
        self._size = height, width

    def start(self, *inputs: Tensor) -> Hidden:
        """Return the stem's maps of ``image``, ``(B, channels, H, W) float32``."""
        return Hidden(self.stem(inputs[0]))

    def block(self, number: int, hidden: Hidden) -> Hidden:
        """Return the maps after layer ``number``, ``(B, C, H, W)``."""
        return Hidden(self.layers[number - 1](hidden.values))

    def features(self, hidden: Hidden) -> Features:
        """Return the positions of the maps as tokens, row by row, to be averaged."""
        height, width = hidden.values.shape[2:]
        tokens = hidden.values.flatten(2).transpose(1, 2)
        return Features(tokens, None, prefix=0, grid=(height, width), pooling="mean")

    def width(self, number: int) -> int:
        """Return the channels of the maps after layer ``number``."""
        return self._widths[number - 1]

    def tokens(self, number: int) -> int:
        """Return the positions of the maps after layer ``number``."""
        height, width = self._size
        for stride in self._strides[: number + 1]:
            # Every layer pads, so a side is divided by the stride and rounded up.
            height, width = -(-height // stride), -(-width // stride)
        return height * width

    def truncate(self, depth: int) -> None:
        """Drop every layer beyond ``depth``."""
        self.layers = self.layers[:depth]
        self.depth = len(self.layers)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and inference; the statistics of frozen norms never train."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self


class ResNetFamily(Family):
    """ResNet of transformers.

    Settings from scratch: those of ``ResNetConfig`` that :data:`SETTINGS` names; ``image_size``
    (one number, or height and width; 224); ``stem``: ``large``, as published, or ``small``, one
    3 x 3 convolution of stride 1 and no pool, for images of about 32 x 32.
    """

    name = "resnet"
    model_types = ("resnet",)

    def pretrained(self, source: str, revision: str | None, *, length: int) -> Backbone:
        """Load the trunk of a folder or hub model, without its classifier, for 224 x 224 images.

        Raises:
            ModelError: It cannot be loaded, or is not of this family.
        """
        del length
        model = load_model({"resnet": ResNetModel}, source, revision)
        return ResNetBackbone(model, STEM_STRIDES["large"], (USUAL_SIZE, USUAL_SIZE))

    def from_scratch(self, settings: dict[str, Any], *, length: int) -> Backbone:
        """Build a trunk with random weights.

        Raises:
            InputError: A setting is unknown or out of range.
        """
        del length
        settings = dict(settings)
        size = image_size("image_size", settings.pop("image_size", USUAL_SIZE))
        stem = settings.pop("stem", "large")
        if stem not in STEM_STRIDES:
            raise bad_setting(f"stem = {stem!r} must be one of {', '.join(STEM_STRIDES)}")
        config = fresh_config(ResNetConfig, settings, SETTINGS, own=("image_size", "stem"))
        _check_stages(config)
        model = fresh_model(ResNetModel, config)
        if stem == "small":
            model.embedder = _small_stem(config)
        return ResNetBackbone(model, STEM_STRIDES[stem], size)


def _convolutions(layer: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of a residual layer, without its shortcut's."""
    steps = cast(nn.Sequential, layer.layer)
    return [module for module in steps.modules() if isinstance(module, nn.Conv2d)]


def _stride(layer: nn.Module) -> int:
    return max(convolution.stride[0] for convolution in _convolutions(layer))


def _small_stem(config: PreTrainedConfig) -> nn.Module:
    stem = ResNetConvLayer(
        config.num_channels, config.embedding_size, kernel_size=3, activation=config.hidden_act
    )
    # As transformers initialises every other convolution of the model.
    nn.init.kaiming_normal_(stem.convolution.weight, mode="fan_out", nonlinearity="relu")
    return stem


def _check_stages(config: PreTrainedConfig) -> None:
    if not config.depths or len(config.depths) != len(config.hidden_sizes or ()):
        raise bad_setting(
            f"depths = {config.depths} and hidden_sizes = {config.hidden_sizes} must list one "
            "number a stage each"
        )

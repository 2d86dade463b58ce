"""ViT and DeiT. Pre-norm: the trunk's final norm is what each exit's own norm starts from."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    DeiTConfig,
    DeiTModel,
    PreTrainedConfig,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)

from edgeexit.dmpo.families.base import Backbone, Family, Features, Hidden, InputShape
from edgeexit.dmpo.families.loading import (
    bad_setting,
    fresh_config,
    fresh_model,
    image_size,
    load_model,
)

MODELS: dict[str, type[PreTrainedModel]] = {"vit": ViTModel, "deit": DeiTModel}
CONFIGS: dict[str, type[PreTrainedConfig]] = {"vit": ViTConfig, "deit": DeiTConfig}
SETTINGS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps"),
    *("image_size", "patch_size", "num_channels", "qkv_bias", "initializer_range"),
)


class ViTBackbone(Backbone):
    """The embeddings and layers of a vision transformer; a block is one layer.

    Args:
        model: A ``ViTModel`` or ``DeiTModel``; its modules are taken over.
        pretrained: Its final norm is worth copying.

    Raises:
        InputError: A patch is larger than an image.
    """

    modality = "image"
    lora_targets = ("q_proj", "v_proj", "fc1", "fc2")

    def __init__(self, model: PreTrainedModel, *, pretrained: bool) -> None:
        super().__init__()
        config = model.config
        height, width = image_size("image_size", config.image_size)
        rows, columns = image_size("patch_size", config.patch_size)
        self._grid = height // rows, width // columns
        if 0 in self._grid:
            raise bad_setting(f"patch_size = {rows, columns} exceeds image_size = {height, width}")
        self.embeddings = cast(nn.Module, model.embeddings)
        self.layers = cast(nn.ModuleList, model.layers)
        self.depth = len(self.layers)
        self.inputs = (InputShape("image", (config.num_channels, height, width), "float32"),)
        # In a tuple it is no submodule: the exits train and export copies, not this one.
        self._final_norm = (cast(nn.Module, model.layernorm),) if pretrained else ()
        self._width: int = config.hidden_size
        self._prefix = 2 if config.model_type == "deit" else 1

    def start(self, *inputs: Tensor) -> Hidden:
        """Return class tokens and patches of ``image``, ``(B, C, H, W) float32``, with positions.

        The class tokens and the positions are added before the patches come in, as rows of one
        constant: transformers' sum, without an operator that reads the size of the batch.
        """
        embeddings = cast(Any, self.embeddings)
        first = [embeddings.cls_token]
        if self._prefix == 2:
            first.append(embeddings.distillation_token)
        patches = self._grid[0] * self._grid[1]
        classes = F.pad(torch.cat(first, dim=1), (0, 0, 0, patches))
        tokens = F.pad(embeddings.patch_embeddings(inputs[0]), (0, 0, self._prefix, 0))
        return Hidden(embeddings.dropout(tokens + (classes + embeddings.position_embeddings)))

    def block(self, number: int, hidden: Hidden) -> Hidden:
        """Return the output of layer ``number``, ``(B, T, d)``, not normalised."""
        return Hidden(self.layers[number - 1](hidden.values))

    def features(self, hidden: Hidden) -> Features:
        """Return the tokens, summed up by the first one."""
        return Features(hidden.values, None, self._prefix, grid=self._grid, pooling="first")

    def width(self, number: int) -> int:
        """Return the width of the trunk, the same after every block."""
        del number
        return self._width

    def tokens(self, number: int) -> int:
        """Return the number of patches."""
        del number
        return self._grid[0] * self._grid[1]

    def truncate(self, depth: int) -> None:
        """Drop every layer beyond ``depth``."""
        self.layers = self.layers[:depth]
        self.depth = len(self.layers)

    def final_norm(self, number: int) -> nn.Module | None:
        """Return a copy of the pretrained final norm; None from scratch."""
        del number
        return copy.deepcopy(self._final_norm[0]) if self._final_norm else None


class ViTFamily(Family):
    """ViT and DeiT.

    Settings from scratch: ``model_type`` (``vit`` or ``deit``) and those of transformers'
    configuration that :data:`SETTINGS` names.
    """

    name = "vit"
    model_types = tuple(MODELS)

    def pretrained(self, source: str, revision: str | None, *, length: int) -> Backbone:
        """Load the trunk of a folder or hub model, without its pooler and its heads.

        Raises:
            ModelError: It cannot be loaded, or is not of this family.
        """
        del length
        model = load_model(MODELS, source, revision, add_pooling_layer=False)
        return ViTBackbone(model, pretrained=True)

    def from_scratch(self, settings: dict[str, Any], *, length: int) -> Backbone:
        """Build a trunk with random weights.

        Raises:
            InputError: A setting is unknown or out of range.
        """
        del length
        settings = dict(settings)
        kind = settings.pop("model_type", "vit")
        if kind not in CONFIGS:
            raise bad_setting(f"model_type = {kind!r} must be one of {', '.join(CONFIGS)}")
        config = fresh_config(CONFIGS[kind], settings, SETTINGS, own=("model_type",))
        if config.hidden_size % config.num_attention_heads:
            raise bad_setting(
                f"num_attention_heads = {config.num_attention_heads} must divide hidden_size = "
                f"{config.hidden_size}"
            )
        model = fresh_model(MODELS[kind], config, add_pooling_layer=False)
        return ViTBackbone(model, pretrained=False)
